"""Jacobi decoding: several codes of an image in one step, with the result of single steps.

A step of one token takes about as long as one of eight, since both read all weights once. The noise is fixed
beforehand, so a draw depends only on the tokens before it. A step reads draft tokens after the known one and
draws after each. Every draw up to the first wrong draft is the draw of a single step and is accepted. The
draws after it are the drafts of the next step (arXiv 2305.10427).

The host compares drafts and draws, so this is for devices whose results it reads without waiting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.backends.batches import DecodeBatch
from model.config import ModelConfig

MAX_WINDOW = 8
"""Tokens of one sequence that a step reads. Wider windows cost more and hardly accept more."""

MAX_SEQUENCES = 2
"""With more sequences, wrong drafts cost more than right drafts save."""


@dataclass(frozen=True)
class _Window:
    """The ids that a step reads of one sequence, from `start` on: one known id, then drafts."""

    slot: int
    start: int
    ids: list[int]
    forced: list[int | None]
    """Forced code at each position that is drawn, or None."""


class JacobiDecoder:
    """Drafts tokens and accepts those that are right. The board has the drafts after the known tokens."""

    def __init__(
        self,
        config: ModelConfig,
        tokens: Tensor,
        forced: Tensor,
        draw: Callable[[DecodeBatch, list[int]], list[int]],
    ) -> None:
        """tokens, forced: the board of the backend; `draw` reads ids and returns the draw after each."""
        self._config = config
        self._tokens, self._forced = tokens, forced
        self._draw = draw
        self._draft_ends: dict[int, int] = {}
        """By slot: the position after the last draft."""

    def forget(self, slots: Sequence[int]) -> None:
        """Drop the drafts of slots that have a new sequence."""
        for slot in slots:
            self._draft_ends.pop(slot, None)

    def pays_for(self, batch: DecodeBatch) -> bool:
        """Return whether drafts save time: for few sequences, all of them images without guidance."""
        return len(batch) <= MAX_SEQUENCES and batch.num_image == len(batch) and not batch.has_guidance

    def decode(self, batch: DecodeBatch) -> tuple[int, ...]:
        """Draw at least one code of every sequence; return the number of new codes of each."""
        windows = [
            self._window(slot, position, end)
            for slot, position, end in zip(batch.slots, batch.positions, batch.ends, strict=True)
        ]
        indices = [index for index, window in enumerate(windows) for _ in window.ids]
        reads = batch.select(indices, num_image=len(indices))
        reads.positions = [window.start + offset for window in windows for offset in range(len(window.ids))]
        drawn = self._draw(reads, [code for window in windows for code in window.ids])
        lengths: list[int] = []
        for window in windows:
            count = len(window.ids)
            own, drawn = drawn[:count], drawn[count:]
            lengths.append(self._accept(window, own))
        return tuple(lengths)

    def _accept(self, window: _Window, drawn: list[int]) -> int:
        """Write the draws to the board; return how many of them are known to be right."""
        count = len(drawn)
        codes = [code if known is None else known for code, known in zip(drawn, window.forced, strict=True)]
        first = window.start + 1
        self._tokens[window.slot, first : first + count] = torch.tensor(codes)
        self._draft_ends[window.slot] = first + count
        length = 1
        while length < count and window.ids[length] == codes[length - 1]:
            length += 1
        return length

    def _window(self, slot: int, position: int, end: int) -> _Window:
        config = self._config
        # At most one row of cells: a step then finishes one row of the image, and each is reported.
        count = min(MAX_WINDOW, config.image_width, end - 1 - position)
        ids, is_forced = self._tokens[slot].tolist(), self._forced[slot].tolist()
        targets = range(position + 1, position + 1 + count)
        draft_end = self._draft_ends.get(slot, 0)
        for target in targets:
            if not is_forced[target] and target >= draft_end:
                # The code above is the likeliest one that is known; the top row has its left neighbour's.
                above = target - config.image_width
                ids[target] = ids[above if above >= config.image_start else target - 1]
        forced = [ids[target] if is_forced[target] else None for target in targets]
        return _Window(slot, position, ids[position : position + count], forced)
