"""GPU measurements of the engine as it serves: pictures, captions, classes; and the package beside it."""

import time
from typing import Any

import torch

from bench.gpu_tools import Bench, Record
from model.config import BOS_ID
from model.kv_cache import KeyValueCache
from model.layout import Segment
from model.rudolph import Rudolph
from model.sampler import SamplingRows, sample
from model.tasks import Ids, caption_slice
from model.transformer import Transformer
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import (
    DecodePictures,
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
MAX_JACOBI_WINDOW = 16


class Desk:
    """An engine and works of random ids."""

    def __init__(self, bench: Bench, rudolph: Rudolph, slots: int) -> None:
        self.config = bench.config
        self.group = 2 if bench.tiny else 16
        start = time.perf_counter()
        self.engine = Engine(rudolph, EngineSettings(num_slots=slots, picture_threads=8))
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

    def caption(self, seed: int) -> Generate:
        return Generate(
            Segment.RIGHT_TEXT,
            self.left(),
            (seed,),
            Sampling(0.9, 64, 0.8),
            image=self.ids(self.config.image_length, self.config.image_codebook_size),
            right=(BOS_ID,),
            max_tokens=min(CAPTION_TOKENS, self.config.right_text_length),
            text_slice=caption_slice(self.config),
        )

    def classes(self, count: int) -> Score:
        left, image = self.left(), self.ids(self.config.image_length, self.config.image_codebook_size)
        length = min(CLASS_TOKENS, self.config.right_text_length)
        texts = [self.ids(length, self.config.bpe_vocab_size) for _ in range(count)]
        return Score(tuple(ScoredSequence(left, image, text) for text in texts), right=True)

    def run(self, works: list[Work]) -> int:
        """All works to their end, pictures to PNG files; how many files or works came out."""
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
                    pictures = DecodePictures(event.result.candidates, "png")
                    self.engine.submit(event.owner, pictures)
                else:
                    done += 1
        return done


def serving(bench: Bench, record: Record) -> None:
    """Latency at 1 and 16 candidates and classes with the smaller engine; throughput with both."""
    rudolph = bench.rudolph()
    smaller, larger = (2, 4) if bench.tiny else (64, 256)
    desk = Desk(bench, rudolph, smaller)
    _latency(bench, record, desk)
    _throughput(bench, record, desk)
    desk.engine.close()
    # The first engine's cache and graphs go before the second one's come.
    del desk
    desk = Desk(bench, rudolph, larger)
    _throughput(bench, record, desk)
    desk.engine.close()


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


def beside(bench: Bench, record: Record) -> None:
    """The published package on the same device, same dtype: the codes of one picture, as it draws them."""
    try:
        from tests.parity import reference

        network: Any = reference.transformer(bench.config, package=reference.rudolph_v2(), seed=1)
    except BaseException as error:  # a skipped import of the tests is no Exception
        record.note(f"reference package: not found, not measured ({error!r})")
        return
    network = network.to(bench.device, bench.dtype).eval()
    config = bench.config
    left = torch.full((1, config.left_text_length), 5, dtype=torch.int64, device=bench.device)
    mask = reference.causal_mask(network, 1).to(bench.device)

    def draw() -> None:
        out, cache = left, None
        for _ in range(config.image_length):
            logits, cache = network(out, mask, use_cache=True, cache=cache)[:2]
            chosen = logits[:, -1, config.text_vocab_size :].float().softmax(-1).argmax(-1, keepdim=True)
            out = torch.cat([out, chosen.clamp(max=config.image_codebook_size - 1)], dim=1)

    with reference.quiet():
        samples = bench.time_host(draw, 1)
    record.seconds("reference", "codes of one picture, published package, no VQGAN", samples)


def jacobi(bench: Bench, record: Record) -> None:
    """How many codes a parallel guess brings a pass, with the noise fixed; only trained weights can tell."""
    if bench.checkpoint is None:
        record.note("Jacobi acceptance: needs --checkpoint, random weights say nothing of it")
        return
    from model.checkpoint import load_rudolph

    rudolph = load_rudolph(bench.checkpoint, device=bench.device, dtype=bench.dtype)
    network, config = rudolph.transformer, rudolph.config
    left = tuple(rudolph.text_tokenizer.encode("красный круг"))[: config.left_text_length - 2]
    ids = torch.zeros(1, config.total_length, dtype=torch.int64, device=bench.device)
    ids[0, : len(left) + 2] = torch.tensor([2, *left, 3], device=bench.device)
    for window in (2, 4, 8, MAX_JACOBI_WINDOW):
        passes = _jacobi_passes(network, ids.clone(), window)
        name = f"codes a pass, window of {window} ({bench.checkpoint.name})"
        record.figure("jacobi", name, config.image_length / passes, "codes")


def _jacobi_passes(network: Transformer, ids: torch.Tensor, window: int) -> int:
    """Passes until the picture is drawn; guesses go on with the last known code, then are what was drawn."""
    config = network.config
    cache = KeyValueCache(config, 1, 1, ids.device, network.text_embeddings.weight.dtype)
    slot = torch.zeros(1, dtype=torch.int64, device=ids.device)
    state = network.prefill(ids[:, : config.image_start], cache, slot, slot)[:, -1:]
    place, passes = config.image_start, 0
    known = 0
    while place < config.right_start:
        # States of the known code and of the guesses behind it draw the codes that follow each.
        count = min(window, config.right_start - place)
        if passes:
            reach = ids[:, place - 1 : place - 1 + count]
            state = network.prefill(reach, cache, slot, slot, start=place - 1)
        else:
            count = 1
        logits = network.image_logits(state[0, :count], config.image_codebook_size)
        rows = SamplingRows.of(
            temperature=[1.0] * count,
            top_k=[min(768, config.image_codebook_size)] * count,
            top_p=[0.99] * count,
            seeds=[1] * count,
            positions=list(range(place, place + count)),
            device=ids.device,
        )
        drawn = sample(logits, rows)
        guessed = ids[0, place : place + count]
        wrong = (drawn != guessed).nonzero().flatten().tolist()
        known = (wrong[0] if wrong else count - 1) + 1
        ids[0, place : place + count] = drawn
        ahead = place + count
        ids[0, ahead : min(ahead + window, config.right_start)] = drawn[-1]
        place += known
        passes += 1
    return passes
