"""GPU benchmarks of the engine, and of the published package."""

import time
from typing import Any

import torch

from bench import published
from bench.gpu_tools import Bench, Record
from model.config import BOS_ID
from model.network.layout import Segment
from model.rudolph import Rudolph
from model.tasks import Ids, caption_slice
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import (
    DecodeImages,
    Generate,
    Generated,
    Sampling,
    Score,
    ScoredSequence,
    Work,
    WorkDone,
    WorkFailed,
)

CAPTION_TOKENS = 16
CLASS_TOKENS = 7
GIB = 1 << 30


class Desk:
    """An engine, and work of random ids for it."""

    def __init__(self, bench: Bench, rudolph: Rudolph, slots: int) -> None:
        self.config = bench.config
        self.group = 2 if bench.tiny else 16
        start = time.perf_counter()
        # With the defaults of a worker in all else.
        self.engine = Engine(rudolph, EngineSettings(num_slots=slots))
        self.start_s = time.perf_counter() - start
        self._generator = torch.Generator().manual_seed(1)

    def ids(self, count: int, vocab: int) -> Ids:
        return tuple(torch.randint(4, vocab, (count,), generator=self._generator).tolist())

    def left(self) -> Ids:
        return self.ids(self.config.left_text_length, self.config.bpe_vocab_size)

    def picture(self, candidates: int, seed: int) -> Generate:
        top_k = min(768, self.config.image_codebook_size // 2)
        seeds = tuple(seed * 1000 + candidate for candidate in range(candidates))
        return Generate(Segment.IMAGE, self.left(), seeds, Sampling(1.0, top_k, 0.99))

    def pictures(self, count: int) -> list[Work]:
        """Return requests for one image each, with left texts of their own."""
        return [self.picture(1, seed) for seed in range(count)]

    def caption(self, seed: int, prefix: int = 1) -> Generate:
        """Return a request for a caption that begins with `prefix` given ids, BOS among them."""
        return Generate(
            Segment.RIGHT_TEXT,
            self.left(),
            (seed,),
            Sampling(0.9, 64, 0.8),
            image=self.ids(self.config.image_length, self.config.image_codebook_size),
            right=(BOS_ID, *self.ids(prefix - 1, self.config.bpe_vocab_size)),
            max_tokens=min(CAPTION_TOKENS + prefix - 1, self.config.right_text_length),
            text_slice=caption_slice(self.config),
        )

    def classes(self, count: int) -> Score:
        left, image = self.left(), self.ids(self.config.image_length, self.config.image_codebook_size)
        length = min(CLASS_TOKENS, self.config.right_text_length)
        texts = [self.ids(length, self.config.bpe_vocab_size) for _ in range(count)]
        return Score(tuple(ScoredSequence(left, image, text) for text in texts), right=True)

    def timed(self, works: list[Work]) -> float:
        """Return the seconds of work from an idle engine to its end."""
        start = time.perf_counter()
        self.run(works)
        return time.perf_counter() - start

    def codes(self, works: list[Generate]) -> list[Ids]:
        """Draw these images together; return the codes of the first candidate of each."""
        drawn: dict[str, Ids] = {}
        for number, work in enumerate(works):
            self.engine.submit(f"{number}", work)
        while self.engine.has_work:
            for event in self.engine.step().events:
                if isinstance(event, WorkFailed):
                    raise event.error
                if isinstance(event, WorkDone) and isinstance(event.result, Generated):
                    drawn[event.owner] = event.result.candidates[0]
        return [drawn[f"{number}"] for number in range(len(works))]

    def run(self, works: list[Work]) -> int:
        """Run all work to its end, images to PNG files; return the number of files or results."""
        for number, work in enumerate(works):
            self.engine.submit(f"{number}", work)
        done = 0
        while self.engine.has_work:
            for event in self.engine.step().events:
                if isinstance(event, WorkFailed):
                    raise event.error
                if not isinstance(event, WorkDone):
                    continue
                if (
                    isinstance(event.result, Generated)
                    and len(event.result.candidates[0]) == self.config.image_length
                ):
                    pictures = DecodeImages(event.result.candidates, "png")
                    self.engine.submit(event.owner, pictures)
                else:
                    done += 1
        return done


def serving(bench: Bench, record: Record) -> None:
    """Measure latency at 1 and 16 candidates with the smaller engine, and throughput with both."""
    rudolph = bench.rudolph()
    smaller, larger = (2, 4) if bench.tiny else (64, 256)
    desk = Desk(bench, rudolph, smaller)
    _memory(bench, record, desk)
    _latency(bench, record, desk)
    _host_time(bench, record, desk)
    _throughput(bench, record, desk)
    desk.engine.close()
    # Free the cache and graphs of the first engine before those of the second are allocated.
    del desk
    desk = Desk(bench, rudolph, larger)
    _memory(bench, record, desk)
    _throughput(bench, record, desk)
    desk.engine.close()


def _memory(bench: Bench, record: Record, desk: Desk) -> None:
    """Measure the memory after the start: allocated, kept by the allocator, and used outside of it."""
    used = desk.engine.memory()
    if bench.on_gpu:
        free, total = torch.cuda.mem_get_info(bench.device)
        used |= {"outside the allocator": total - free - used["reserved"], "free": free}
    for kind, size in used.items():
        record.figure("memory", f"{desk.engine.num_slots} slots: {kind}", size / GIB, "GiB")


def _host_time(bench: Bench, record: Record, desk: Desk) -> None:
    """Measure the steps of running images: by the clock, and the processor time of the engine's thread."""
    for candidates in (1, desk.group):
        desk.engine.submit("steps", desk.picture(candidates, 1))
        wall, processor = [], []
        while desk.engine.has_work:
            start, used = time.perf_counter(), time.thread_time()
            desk.engine.step()
            wall.append(time.perf_counter() - start)
            processor.append(time.thread_time() - used)
        record.seconds("engine", f"{candidates} rows: one step of the engine", wall)
        record.seconds("engine", f"{candidates} rows: processor time of a step", processor)


def _latency(bench: Bench, record: Record, desk: Desk) -> None:
    repeats = 1 if bench.tiny else 20
    for candidates in (1, desk.group):

        def one(candidates: int = candidates) -> None:
            desk.run([desk.picture(candidates, 1)])

        name = f"picture to PNG, {candidates} candidates, alone"
        record.seconds("engine", name, bench.time_host(one, repeats))
    classes = desk.classes(5 if bench.tiny else 1000)
    samples = bench.time_host(lambda: desk.run([classes]), repeats)
    record.seconds("engine", f"classify among {len(classes.sequences)}", samples)


def _throughput(bench: Bench, record: Record, desk: Desk) -> None:
    slots = desk.engine.num_slots
    record.figure("engine", f"{slots} slots: engine ready", desk.start_s, "s")
    rounds = 1 if bench.tiny else 4
    pictures = [desk.picture(desk.group, seed) for seed in range(rounds * slots // desk.group)]
    count = sum(len(work.seeds) for work in pictures)
    samples = bench.time_host(lambda: desk.run([*pictures]), 2)
    seconds = record.seconds("engine", f"{slots} rows: {count} pictures to PNG", samples)
    record.figure("engine", f"{slots} rows: pictures", count / seconds, "images/s")
    captions = [desk.caption(seed) for seed in range(rounds * slots)]
    samples = bench.time_host(lambda: desk.run([*captions]), 2)
    seconds = record.seconds("engine", f"{slots} rows: {len(captions)} captions", samples)
    record.figure("engine", f"{slots} rows: captions", len(captions) / seconds, "captions/s")


def published_package(bench: Bench, record: Record) -> None:
    """Time the codes of one image in the published package, on the same device and dtype."""
    try:
        network: Any = published.transformer(bench.config, package=published.rudolph_v2(), seed=1)
    except published.PackagesMissingError as error:
        record.note(f"published package: not measured. {error}")
        return
    network = network.to(bench.device, bench.dtype).eval()
    config = bench.config
    left = torch.full((1, config.left_text_length), 5, dtype=torch.int64, device=bench.device)
    mask = published.causal_mask(network, 1).to(bench.device)

    def draw() -> None:
        out, cache = left, None
        for _ in range(config.image_length):
            logits, cache = network(out, mask, use_cache=True, cache=cache)[:2]
            chosen = logits[:, -1, config.text_vocab_size :].float().softmax(-1).argmax(-1, keepdim=True)
            out = torch.cat([out, chosen.clamp(max=config.image_codebook_size - 1)], dim=1)

    with published.quiet():
        samples = bench.time_host(draw, 1)
    record.seconds("reference", "codes of one picture, published package, no VQGAN", samples)
