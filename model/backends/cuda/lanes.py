"""The sequences of one kind of token at fixed addresses on the device, with a graph for each number."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from model.backends.batches import DecodeBatch
from model.backends.cuda.capture import Run, size_for
from model.backends.cuda.columns import Columns
from model.backends.cuda.triton_sampling import Board, SamplingColumns
from model.network.cache import KeyValueCache

INTEGERS: tuple[str, ...] = (
    "slots",
    "left_slots",
    "positions",
    "top_k",
    "seeds",
    "widths",
    "uncond_index",
    "cond_index",
    "eos_from",
    "advances",
)
FLOATS: tuple[str, ...] = ("temperature", "top_p", "min_p", "guidance_weight")

_Value = TypeVar("_Value", int, float)


class StepMemory:
    """What the steps read and write. Padding uses the last slot of either kind."""

    def __init__(
        self, cache: KeyValueCache, tokens: Tensor, forced: Tensor, left_hidden: Tensor, body_hidden: Tensor
    ) -> None:
        """tokens: int64, forced: bool, shape = (slots, total_length); the hidden states of stored prompts by
        slot."""
        self.cache = cache
        self.tokens, self.forced = tokens, forced
        self.left_hidden, self.body_hidden = left_hidden, body_hidden

    @property
    def padding_slots(self) -> tuple[int, int]:
        """The left slot and the slot that padding reads and writes."""
        return self.cache.num_left_slots - 1, self.cache.num_slots - 1


class Lane:
    """The sequences of one kind of token: their columns, their graphs, and the batch that is loaded."""

    def __init__(self, sizes: Sequence[int], memory: StepMemory, *, vocab: int) -> None:
        """vocab: ids of a draw."""
        self.sizes = sizes
        device = memory.tokens.device
        self.columns = Columns(
            dict.fromkeys(INTEGERS, (torch.int64, (sizes[-1],)))
            | dict.fromkeys(FLOATS, (torch.float32, (sizes[-1],))),
            device,
        )
        self.drawn = torch.zeros(sizes[-1], dtype=torch.int64, device=device)
        self.graphs: dict[int, Run] = {}
        self._memory = memory
        self._vocab = vocab
        self._expected: DecodeBatch | None = None

    def prepare(self, work_of: Callable[["Lane", int], Run], capture: Callable[[Run], Run]) -> None:
        """Capture the work of every size. The largest is first, so smaller ones find memory in the pool."""
        for size in reversed(self.sizes):
            self._expected = None
            self._load(DecodeBatch.empty(), size)
            self.graphs[size] = capture(work_of(self, size))

    def run(self, batch: DecodeBatch) -> Tensor:
        """Advance the sequences by one token; return the drawn ids, shape = (sequences,)."""
        size = size_for(self.sizes, len(batch))
        if batch != self._expected:
            self._load(batch, size)
        # The step advances the positions on the device.
        self._expected = replace(batch, positions=[position + 1 for position in batch.positions])
        self.graphs[size]()
        return self.drawn[: len(batch)]

    def sampling(self, size: int) -> SamplingColumns:
        """Return the sampling parameters of the first `size` sequences."""

        def column(name: str) -> Tensor:
            return self.columns[name][:size]

        return SamplingColumns(
            temperatures=column("temperature"),
            top_ks=column("top_k"),
            top_ps=column("top_p"),
            min_ps=column("min_p"),
            seeds=column("seeds"),
            positions=column("positions"),
            widths=column("widths"),
            uncond_index=column("uncond_index"),
            cond_index=column("cond_index"),
            guidance_weights=column("guidance_weight"),
        )

    def board(self, size: int) -> Board:
        """Return the board for the first `size` sequences."""
        memory, columns = self._memory, self.columns
        return Board(
            memory.tokens,
            memory.forced,
            columns["slots"][:size],
            columns["eos_from"][:size],
            columns["advances"][:size],
        )

    def _load(self, batch: DecodeBatch, size: int) -> None:
        count = len(batch)
        left_slot, slot = self._memory.padding_slots

        def padded(values: list[_Value], value: _Value) -> list[_Value]:
            return values + [value] * (size - count)

        def indices(values: list[int]) -> list[int]:
            return values + list(range(count, size))

        self.columns.load(
            {
                "slots": padded(batch.slots, slot),
                "left_slots": padded(batch.left_slots, left_slot),
                # No token is before position 0, so padding reads next to nothing.
                "positions": padded(batch.positions, 0),
                "top_k": padded(batch.top_k, 1),
                "seeds": padded(batch.seeds, 0),
                "widths": padded(batch.widths, self._vocab),
                "uncond_index": indices(batch.uncond_index),
                "cond_index": indices(batch.cond_index),
                "eos_from": padded(batch.eos_from, self._vocab),
                "advances": padded([1] * count, 0),
                "temperature": padded(batch.temperature, 1.0),
                "top_p": padded(batch.top_p, 1.0),
                "min_p": padded(batch.min_p, 0.0),
                "guidance_weight": padded(batch.guidance_weight, 0.0),
            }
        )
