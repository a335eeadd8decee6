"""GPU measurements of parts: the four that decide the plan, correctness, and the ladder of a decode step."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from bench.gpu_tools import Bench, Record
from model.kernels.fused_step import FusedStep, StepRows
from model.kernels.triton_attention import AttentionTuning
from model.kernels.triton_sampling import Board, DrawRows, draw, draw_onto
from model.kv_cache import KeyValueCache
from model.layout import RowGroups
from model.sampler import SamplingRows, sample
from model.transformer import Transformer

EMPTY_KERNELS = 120


def first_measurements(bench: Bench, record: Record) -> None:
    """Graph replay, products at small batches, the picture decoder: they decide the plan."""
    one = torch.zeros(1, device=bench.device)

    def empty() -> None:
        for _ in range(EMPTY_KERNELS):
            one.add_(1)

    record.seconds(
        "first",
        f"graph of {EMPTY_KERNELS} empty kernels, one replay",
        bench.time_device(bench.captured(empty)),
    )
    hidden, config = bench.config.hidden_size, bench.config
    shapes = {
        "query-key-value": (3 * hidden, hidden),
        "attention output": (hidden, hidden),
        "mlp in": (4 * hidden, hidden),
        "mlp out": (hidden, 4 * hidden),
        "image head": (config.image_codebook_size, hidden),
    }
    copies = 2 if bench.tiny else 24
    for name, (wide, narrow) in shapes.items():
        # As many weights as layers: one alone would stay in the cache.
        weights = [torch.randn(wide, narrow, device=bench.device).to(bench.dtype) for _ in range(copies)]
        bias = torch.randn(wide, device=bench.device).to(bench.dtype)
        for rows in (1, 16, 64):
            x = torch.randn(rows, narrow, device=bench.device).to(bench.dtype)
            products = bench.captured(_products(x, weights, bias))
            samples = [sample / copies for sample in bench.time_device(products, 5)]
            size = wide * narrow * weights[0].element_size()
            rate = size / sorted(samples)[len(samples) // 2]
            record.seconds("first", f"product {name}, {rows} rows", samples, gigabytes_a_s=rate / 1e9)
    tokenizer = bench.pictures()
    for count in (1, 4) if bench.tiny else (1, 16, 64):
        codes = torch.randint(config.image_codebook_size, (count, config.image_length), device=bench.device)
        decode: Callable[[], Tensor] = lambda codes=codes: tokenizer.decode(codes)  # noqa: E731
        record.seconds(
            "first",
            f"picture decoder, {count} at once, an image",
            [s / count for s in bench.time_device(decode, 3)],
        )
        graph = bench.captured(decode)
        record.seconds(
            "first",
            f"picture decoder, {count} at once, an image, graph",
            [s / count for s in bench.time_device(graph, 3)],
        )


def _products(x: Tensor, weights: list[Tensor], bias: Tensor) -> Callable[[], None]:
    def run() -> None:
        for weight in weights:
            functional.linear(x, weight, bias)

    return run


class StepCase:
    """Rows of image tokens in the middle of their pictures, with all that a step needs."""

    def __init__(self, bench: Bench, network: Transformer, rows: int) -> None:
        config = self.config = bench.config
        self.bench, self.network, self.rows = bench, network, rows
        dtype = network.text_embeddings.weight.dtype
        self.cache = KeyValueCache(config, 2, rows + 1, bench.device, dtype)
        for pool in (*self.cache.left, *self.cache.body):
            pool.normal_()
        place = config.image_start + config.image_length // 2
        every = torch.arange(rows, device=bench.device)
        self.tokens = torch.ones(rows + 1, config.total_length, dtype=torch.int64, device=bench.device)
        self.given = torch.zeros_like(self.tokens, dtype=torch.bool)
        self.slots, self.left_slots = every, torch.zeros_like(every)
        self.positions = torch.full_like(every, place)
        self.groups = RowGroups(num_image=rows)
        self.sampling = SamplingRows.of(
            temperature=[1.0] * rows,
            top_k=[min(768, config.image_codebook_size // 2)] * rows,
            top_p=[0.99] * rows,
            seeds=list(range(rows)),
            positions=[place + 1] * rows,
            device=bench.device,
        )

    def uncached(self, *, whole_head: bool) -> Callable[[], Tensor]:
        place = int(self.positions[0]) + 1
        ids = self.tokens[: self.rows, :place]

        def step() -> Tensor:
            if whole_head:
                logits = self.network(ids)[:, -1, self.config.text_vocab_size :]
            else:
                logits = self.network.image_logits(self.network.encode(ids)[:, -1])
            return sample(logits[:, : self.config.image_codebook_size], self.sampling)

        return step

    def plain(self) -> Tensor:
        hidden = self.network.decode(
            self.tokens[self.slots, self.positions],
            self.positions,
            self.cache,
            self.left_slots,
            self.slots,
            groups=self.groups,
        )
        return sample(self.network.image_logits(hidden, self.config.image_codebook_size), self.sampling)

    def fused(self, *, own_draw: bool, tuning: AttentionTuning | None = None) -> Callable[[], Tensor]:
        step = FusedStep(self.network, tuning)
        rows = StepRows(self.tokens, self.positions, self.left_slots, self.slots)
        drawn = torch.zeros_like(self.slots)
        settings = DrawRows(
            self.sampling.temperature,
            self.sampling.top_k,
            self.sampling.top_p,
            self.sampling.seeds,
            self.positions,
            torch.full_like(self.slots, self.config.image_codebook_size),
            self.slots,
            self.slots,
            torch.zeros(self.rows, device=self.bench.device),
        )
        # Rows stay where they are, so that every run is the same step.
        board = Board(self.tokens, self.given, self.slots, settings.widths, torch.zeros_like(self.slots))

        def run() -> Tensor:
            logits = step.image_logits(step.hidden(rows, self.cache)[1], self.config.image_codebook_size)
            if not own_draw:
                return sample(logits, self.sampling)
            draw_onto(logits, settings, board, drawn, guided=True)
            return drawn

        return run


def ladder(bench: Bench, record: Record) -> None:
    """One decode step of image tokens, each technique added to the ones before."""
    network = bench.network()
    for rows in (1, 2) if bench.tiny else (1, 16, 64, 256):
        case = StepCase(bench, network, rows)
        rungs: list[tuple[str, int, Callable[[], Callable[[], Tensor]]]] = [
            ("eager, all recomputed, whole head", 2, lambda c=case: c.uncached(whole_head=True)),
            ("+ head slice of the last position", 2, lambda c=case: c.uncached(whole_head=False)),
            ("+ static keys and values, sparse in PyTorch", 10, lambda c=case: c.plain),
            ("+ graph", 10, lambda c=case: bench.captured(c.plain)),
            (
                "+ fused kernels, sparse by pointer",
                10,
                lambda c=case: bench.captured(c.fused(own_draw=False)),
            ),
            ("+ sampling kernel (what serves)", 10, lambda c=case: bench.captured(c.fused(own_draw=True))),
        ]
        for name, runs, build in rungs:
            if rows > 16 and runs == 2:
                continue
            try:
                record.seconds("ladder", f"{rows} rows: {name}", bench.time_device(build(), runs), rows=rows)
            except RuntimeError as error:  # one rung that a device refuses must not hide the others
                record.note(f"{rows} rows: {name}: failed: {error}")
    _tuning(bench, record, StepCase(bench, network, 2 if bench.tiny else 64))


def _tuning(bench: Bench, record: Record, case: StepCase) -> None:
    """Other cuts of the attention kernel, in the whole step."""
    for keys, warps in [(32, 1)] if bench.tiny else product((32, 64, 128), (1, 2, 4, 8)):
        tuning = AttentionTuning(block_keys=keys, num_warps=warps)
        step = bench.captured(case.fused(own_draw=True, tuning=tuning))
        name = f"{case.rows} rows: attention in blocks of {keys}, {warps} warps"
        record.seconds("tuning", name, bench.time_device(step, 10), rows=case.rows)


def correctness(bench: Bench, record: Record) -> None:
    """Kernels against plain PyTorch, then the whole model in this dtype against float32."""
    exact = bench.network(torch.float32)
    rows = 2 if bench.tiny else 16
    case = StepCase(bench, exact, rows)
    spread = torch.arange(rows, device=bench.device) * 7 % bench.config.total_length
    groups_of = sorted(spread.tolist())
    case.positions = torch.tensor(groups_of, device=bench.device)
    case.left_slots = torch.zeros_like(case.slots)
    step = FusedStep(exact)
    got = step.hidden(StepRows(case.tokens, case.positions, case.left_slots, case.slots), case.cache)[0]
    expected = exact.decode(
        case.tokens[case.slots, case.positions], case.positions, case.cache, case.left_slots, case.slots
    )
    error = (got - expected).norm() / expected.norm()
    record.figure("correctness", "fused step against plain, float32", float(error), "relative error")
    logits = torch.randn(rows * 8, bench.config.image_codebook_size, device=bench.device) * 3
    settings = SamplingRows.of(
        temperature=[0.9] * len(logits),
        top_k=[50] * len(logits),
        top_p=[0.95] * len(logits),
        seeds=list(range(len(logits))),
        positions=[5] * len(logits),
        device=bench.device,
    )
    equal = (draw(logits, settings) == sample(logits, settings)).float().mean()
    record.figure("correctness", "draws equal to the plain sampler's", float(equal), "of 1")
    _whole_model(bench, record, exact)


def _whole_model(bench: Bench, record: Record, exact: Transformer) -> None:
    """Greedy codes of the fused steps in the serving dtype, judged by the float32 network along them."""
    config, rows = bench.config, 2 if bench.tiny else 4
    network = bench.network()
    cache = KeyValueCache(config, rows, rows, bench.device, bench.dtype)
    tokens = torch.zeros(rows, config.total_length, dtype=torch.int64, device=bench.device)
    tokens[:, : config.left_text_length] = torch.randint(
        4, config.bpe_vocab_size, (rows, config.left_text_length), device=bench.device
    )
    every = torch.arange(rows, device=bench.device)
    hidden = network.prefill(tokens[:, : config.image_start], cache, every, every)[:, -1]
    tokens[:, config.image_start] = network.image_logits(hidden, config.image_codebook_size).argmax(1)
    step = FusedStep(network)
    for place in range(config.image_start, config.right_start - 1):
        at = StepRows(tokens, torch.full_like(every, place), every, every)
        normed = step.hidden(at, cache)[1]
        tokens[:, place + 1] = step.image_logits(normed, config.image_codebook_size).argmax(1)
    given = tokens[:, : config.right_start]
    codes = given[:, config.image_start :]

    def judged(by: Transformer) -> tuple[float, float]:
        states = by.encode(given)[:, config.image_start - 1 : -1]
        logits = by.image_logits(states, config.image_codebook_size).float()
        losses = functional.cross_entropy(logits.flatten(0, 1), codes.flatten())
        return float((logits.argmax(-1) == codes).float().mean()), float(losses.exp())

    agreement, ppl = judged(exact)
    own_agreement, own_ppl = judged(network)
    record.figure("correctness", "greedy codes that float32 would draw too", agreement, "of 1")
    record.figure("correctness", "greedy codes that its own whole pass draws too", own_agreement, "of 1")
    record.figure("correctness", "ppl against float32", own_ppl / ppl - 1, "relative error")
