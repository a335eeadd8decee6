"""Decode steps as CUDA graphs: one for every batch size, for pictures and for texts, captured at start.

Knows rows and the runner's tensors; no policy. Everything that a step reads lies at fixed places on the
device, and the step itself moves the rows on: while no row comes or goes, the host only says "again". On a
device without graphs the same steps run one kernel after the other.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import torch
from torch import Tensor

from model.config import PAD_ID
from model.kernels.fused_step import FusedStep, StepRows
from model.kernels.triton_sampling import Board, DrawRows, draw_onto
from model.kv_cache import KeyValueCache
from model.layout import Segment
from model.transformer import Transformer
from workers.engine.sequence import Row

BUCKETS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256)
"""Batch sizes with a graph of their own; a batch runs in the smallest that holds it."""
ALIGNMENT = 16
"""Columns begin at multiples of this many values: a kernel is compiled anew for other alignments."""

logger = getLogger(__name__)


def buckets_up_to(max_rows: int) -> tuple[int, ...]:
    """Sizes of the graphs of an engine of `max_rows` slots; the last one holds them all."""
    return (*(size for size in BUCKETS if size < max_rows), max_rows)


def bucket_of(buckets: Sequence[int], rows: int) -> int:
    """The smallest bucket that holds so many rows; ValueError if none does."""
    for size in buckets:
        if size >= rows:
            return size
    raise ValueError(f"{rows} rows do not fit the largest bucket, {buckets[-1]}")


@dataclass(frozen=True)
class Tables:
    """What the runner and its graphs share. The last slot of either kind is nobody's: padding rows use it."""

    cache: KeyValueCache
    tokens: Tensor
    """int64, shape = (slots, total_length)."""
    given: Tensor
    """bool, shape = (slots, total_length)."""


class _Columns:
    """Per-row settings at fixed places; host values go up in two copies."""

    INTEGERS = (
        "slots",
        "left_slots",
        "positions",
        "top_ks",
        "seeds",
        "widths",
        "partners",
        "leads",
        "eos_from",
        "advances",
    )
    FLOATS = ("temperatures", "top_ps", "shares")

    def __init__(self, max_rows: int, device: torch.device) -> None:
        length = -(-max_rows // ALIGNMENT) * ALIGNMENT
        self._integers = torch.zeros(len(self.INTEGERS), length, dtype=torch.int64, device=device)
        self._floats = torch.zeros(len(self.FLOATS), length, dtype=torch.float32, device=device)
        self.drawn = torch.zeros(length, dtype=torch.int64, device=device)

    def __getitem__(self, name: str) -> Tensor:
        if name in self.INTEGERS:
            return self._integers[self.INTEGERS.index(name)]
        return self._floats[self.FLOATS.index(name)]

    def load(self, integers: Sequence[Sequence[int]], floats: Sequence[Sequence[float]]) -> None:
        """Values of every column, in the order of the names, for the first rows."""
        rows = len(integers[0])
        for columns, values in ((self._integers, integers), (self._floats, floats)):
            host = torch.tensor(values, dtype=columns.dtype)
            if columns.is_cuda:
                host = host.pin_memory()
            columns[:, :rows].copy_(host, non_blocking=True)


class _Lane:
    """Rows of one kind of token: their columns, their graphs, and who was there the last time."""

    def __init__(
        self,
        max_rows: int,
        buckets: tuple[int, ...],
        *,
        scratch: tuple[int, int],
        vocab: int,
        device: torch.device,
    ) -> None:
        self.buckets = buckets
        self.columns = _Columns(max_rows, device)
        self.graphs: dict[int, Callable[[], None]] = {}
        self._scratch = scratch
        self._vocab = vocab
        self._members: tuple[Row, ...] = ()
        self._places: list[int] = []

    def run(self, members: Sequence[Row]) -> tuple[tuple[Row, ...], Tensor]:
        """Move rows, and the shadows behind them, on by one token; who stands where, and what was drawn."""
        shadows = [row.shadow for row in members if row.shadow is not None]
        rows = (*members, *shadows)
        size = bucket_of(self.buckets, len(rows))
        places = [row.position for row in rows]
        same = len(rows) == len(self._members) and all(
            mine is theirs for mine, theirs in zip(self._members, rows, strict=True)
        )
        if not same or places != self._places:
            self._load(rows, len(members), size)
        self._members = rows
        self._places = [place + 1 for place in places]
        self.graphs[size]()
        return rows, self.columns.drawn[: len(rows)]

    def load_padding(self, size: int) -> None:
        self._members = ()
        self._load((), 0, size)

    def _load(self, rows: Sequence[Row], num_members: int, size: int) -> None:
        count, padding = len(rows), size - len(rows)
        guided = [place for place in range(num_members) if rows[place].shadow is not None]
        partners, leads = list(range(size)), list(range(size))
        shares = [0.0] * size
        for nth, place in enumerate(guided):
            partners[place] = num_members + nth
            leads[num_members + nth] = place
            shares[place] = rows[place].group.work.guidance
        left_slot, slot = self._scratch
        slices = [row.group.work.text_slice for row in rows]

        def padded(values: list[int], value: int) -> list[int]:
            return values + [value] * padding

        self.columns.load(
            [
                padded([row.slot for row in rows], slot),
                padded([row.left_slot for row in rows], left_slot),
                # Nothing stands before position 0, so padding reads next to nothing.
                padded([row.position for row in rows], 0),
                padded([row.sampling.top_k for row in rows], 1),
                padded([row.seed for row in rows], 0),
                padded([self._vocab if part is None else part.width for part in slices], self._vocab),
                partners,
                leads,
                padded([self._vocab if part is None else part.eos_from for part in slices], self._vocab),
                padded([1] * count, 0),
            ],
            [
                [row.sampling.temperature for row in rows] + [1.0] * padding,
                [row.sampling.top_p for row in rows] + [1.0] * padding,
                shares,
            ],
        )


class StepGraphs:
    """Decode steps of one engine: a lane for pictures, a lane for texts."""

    def __init__(
        self, transformer: Transformer, step: FusedStep, tables: Tables, max_rows: int, text_width: int
    ) -> None:
        """Capture all graphs. `text_width`: text ids that any row may draw from."""
        self._config = config = transformer.config
        self._step = step
        self._tables = tables
        self._device = tables.tokens.device
        buckets = buckets_up_to(max_rows)
        scratch = (tables.cache.num_left_slots - 1, tables.cache.num_slots - 1)
        tables.tokens[scratch[1]] = PAD_ID
        codebook = config.image_codebook_size
        self._images = _Lane(max_rows, buckets, scratch=scratch, vocab=codebook, device=self._device)
        self._texts = _Lane(max_rows, buckets, scratch=scratch, vocab=text_width, device=self._device)
        self._text_width = text_width
        start = time.perf_counter()
        self._prepare()
        logger.info(
            "decode steps prepared: %d batch sizes up to %d rows in %.1f s",
            len(buckets),
            max_rows,
            time.perf_counter() - start,
        )

    def decode(self, rows: Sequence[Row]) -> tuple[tuple[Row, ...], Tensor | None]:
        """Every row reads its last known token and draws the next one. Text rows, and their drawn ids."""
        images = [row for row in rows if row.target is Segment.IMAGE]
        texts = [row for row in rows if row.target is not Segment.IMAGE]
        if images:
            self._images.run(images)
        return self._texts.run(texts) if texts else ((), None)

    def _body(self, lane: _Lane, size: int) -> Callable[[], None]:
        """The work of one step of `size` rows, as it is captured."""
        columns, tables = lane.columns, self._tables

        def column(name: str) -> Tensor:
            return columns[name][:size]

        rows = StepRows(tables.tokens, column("positions"), column("left_slots"), column("slots"))
        settings = DrawRows(
            temperatures=column("temperatures"),
            top_ks=column("top_ks"),
            top_ps=column("top_ps"),
            seeds=column("seeds"),
            positions=rows.positions,
            widths=column("widths"),
            partners=column("partners"),
            leads=column("leads"),
            shares=column("shares"),
        )
        board = Board(tables.tokens, tables.given, rows.slots, column("eos_from"), column("advances"))
        is_image = lane is self._images

        @torch.inference_mode()
        def step() -> None:
            _, normed = self._step.hidden(rows, tables.cache)
            if is_image:
                logits = self._step.image_logits(normed, self._config.image_codebook_size)
            else:
                logits = self._step.text_logits(normed, self._text_width)
            draw_onto(logits, settings, board, columns.drawn[:size], guided=is_image)

        return step

    def _prepare(self) -> None:
        """Largest batches first: smaller ones then find their memory in the pool already."""
        stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        pool: Any = torch.cuda.graph_pool_handle() if stream is not None else None
        for lane in (self._images, self._texts):
            for size in reversed(lane.buckets):
                step = self._body(lane, size)
                lane.load_padding(size)
                lane.graphs[size] = step if stream is None else _capture(step, stream, pool)


def _capture(step: Callable[[], None], stream: torch.cuda.Stream, pool: Any) -> Callable[[], None]:
    """Run the step once (kernels are compiled, libraries set up), then record it; returns its replay."""
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        step()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            step()
        except BaseException:
            # Ending a broken capture fails too; the first error is the one to tell (a lack of memory, say).
            with suppress(RuntimeError):
                graph.capture_end()
            raise
        graph.capture_end()
    torch.cuda.current_stream(stream.device).wait_stream(stream)
    return graph.replay
