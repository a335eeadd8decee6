"""GPU benchmarks of one decode step: the ladder of techniques, block sizes, and its kernels."""

from collections.abc import Callable, Iterable
from itertools import product
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from bench.gpu_tools import Bench, Record
from model.backends.cuda.fused_step import FusedStep, StepInputs
from model.backends.cuda.triton_attention import AttentionTuning
from model.backends.cuda.triton_sampling import Board, SamplingColumns, draw_onto
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.sampler import SamplingBatch, sample
from model.network.transformer import Transformer

PROFILED_STEPS = 20
LISTED_KERNELS = 30
LONGEST_NAME = 90
"""Characters of a kernel's name in the file."""


class StepCase:
    """Sequences in the middle of their images, with the inputs of a decode step."""

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
        self.layout = StepLayout(num_image=rows)
        self.sampling = SamplingBatch.of(
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
            layout=self.layout,
        )
        return sample(self.network.image_logits(hidden, self.config.image_codebook_size), self.sampling)

    def serving(self, tuning: AttentionTuning | None = None) -> Callable[[], Tensor]:
        """Return the step that serves."""
        return self.fused(own_draw=True, own_products=True, tuning=tuning)

    def fused(
        self, *, own_draw: bool, own_products: bool = False, tuning: AttentionTuning | None = None
    ) -> Callable[[], Tensor]:
        """Return the step of fused kernels. `own_products`: of up to 16 rows, the rest is the library's."""
        step = FusedStep(self.network, tuning)
        rows = StepInputs(self.tokens, self.positions, self.left_slots, self.slots)
        drawn = torch.zeros_like(self.slots)
        settings = SamplingColumns(
            self.sampling.temperature,
            self.sampling.top_k,
            self.sampling.top_p,
            self.sampling.min_p,
            self.sampling.seeds,
            self.positions,
            torch.full_like(self.slots, self.config.image_codebook_size),
            self.slots,
            self.slots,
            torch.zeros(self.rows, device=self.bench.device),
        )
        # Positions do not advance, so that every run is the same step.
        board = Board(self.tokens, self.given, self.slots, settings.widths, torch.zeros_like(self.slots))

        def run() -> Tensor:
            codes = self.config.image_codebook_size
            if own_products:
                logits = step.logits(rows, self.cache, codes, is_image=True)
            else:
                logits = step.image_logits(step.hidden(rows, self.cache)[1], codes)
            if not own_draw:
                return sample(logits, self.sampling)
            draw_onto(logits, settings, board, drawn, guided=True)
            return drawn

        return run


def ladder(bench: Bench, record: Record) -> None:
    """Measure a decode step of image tokens; each row adds a technique to those before."""
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
            ("+ sampling kernel", 10, lambda c=case: bench.captured(c.fused(own_draw=True))),
            ("+ products of a few rows (what serves)", 10, lambda c=case: bench.captured(c.serving())),
        ]
        for name, runs, build in rungs:
            if rows > 16 and runs == 2:
                continue
            try:
                record.seconds("ladder", f"{rows} rows: {name}", bench.time_device(build(), runs), rows=rows)
            except RuntimeError as error:  # an unsupported technique must not end the ladder
                record.note(f"{rows} rows: {name}: failed: {error}")
                bench.synchronize()  # raises again if the device itself is broken


def tuning(bench: Bench, record: Record) -> None:
    """Measure other block sizes of the attention kernel, in the whole step."""
    case = StepCase(bench, bench.network(), 2 if bench.tiny else 64)
    for keys, warps in [(32, 1)] if bench.tiny else product((32, 64, 128), (1, 2, 4, 8)):
        tuning = AttentionTuning(block_keys=keys, num_warps=warps)
        step = bench.captured(case.serving(tuning))
        name = f"{case.rows} rows: attention in blocks of {keys}, {warps} warps"
        record.seconds("tuning", name, bench.time_device(step, 10), rows=case.rows)


def profile(bench: Bench, record: Record) -> None:
    """Measure each kernel of the step that serves: its time and its launches in a step."""
    network = bench.network()
    activity = torch.profiler.ProfilerActivity.CUDA if bench.on_gpu else torch.profiler.ProfilerActivity.CPU
    for rows in (1, 2) if bench.tiny else (1, 16, 64, 256):
        step = bench.captured(StepCase(bench, network, rows).serving())
        step()
        bench.synchronize()
        with torch.profiler.profile(activities=[activity]) as profiler:
            for _ in range(PROFILED_STEPS):
                step()
            bench.synchronize()
        kernels = _kernels(profiler.key_averages(), on_gpu=bench.on_gpu)
        total = sum(us for _, us, _ in kernels) / PROFILED_STEPS
        launches = sum(count for _, _, count in kernels) / PROFILED_STEPS
        record.figure(
            "profile", f"{rows} rows: all kernels", total, "µs a step", rows=rows, launches=launches
        )
        for name, us, count in kernels[:LISTED_KERNELS]:
            per_step = {"rows": rows, "launches": count / PROFILED_STEPS}
            record.figure("profile", f"{rows} rows: {name}", us / PROFILED_STEPS, "µs a step", **per_step)


def _kernels(events: Iterable[Any], *, on_gpu: bool) -> list[tuple[str, float, int]]:
    """Return names, microseconds and launches, the longest time first."""
    kernels = [
        (
            str(event.key)[:LONGEST_NAME],
            float(event.self_device_time_total if on_gpu else event.self_cpu_time_total),
            int(event.count),
        )
        for event in events
    ]
    kernels = [kernel for kernel in kernels if kernel[1] > 0]
    kernels.sort(key=itemgetter(1), reverse=True)
    return kernels
