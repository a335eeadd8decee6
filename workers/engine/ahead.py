"""Drawing several codes of a picture in one step: guesses are checked side by side, and what holds is kept.

A decode step of one row takes about as long as one of eight, since both read all weights once. A draw depends
on what stands before it and on its position's own noise. So guess the next codes and draw behind each guess:
every draw up to the first wrong guess is the very one that single steps would make, and the draws behind it
are the next step's guesses (Jacobi decoding, arXiv 2305.10427, with noise fixed beforehand). Knows rows of
pictures without guidance; only for a device whose tensors the host reads without waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from model.kv_cache import KeyValueCache
from model.layout import RowGroups, Segment
from model.sampler import SamplingRows, sample
from model.transformer import Transformer
from workers.engine.sequence import Row

MAX_WINDOW = 8
"""Codes of one row that are drawn in a step. Wider windows hold hardly more, and cost more."""

MAX_ROWS = 2
"""With more rows a step has work enough: guesses that fail would cost what they save."""


@dataclass(frozen=True)
class _Window:
    """What one row reads: ids at `start` and behind it, the first of them known, the others guessed."""

    row: Row
    start: int
    ids: list[int]
    given: list[int | None]
    """Codes that stand at the positions that are drawn, whatever is drawn; None: none does."""


class Ahead:
    """Guesses, and checks them. Guesses live on the board of tokens, behind what is known."""

    def __init__(self, transformer: Transformer, cache: KeyValueCache, tokens: Tensor) -> None:
        """tokens: int64, shape = (slots, total_length), the engine's board of known ids."""
        self._transformer = transformer
        self._config = transformer.config
        self._cache = cache
        self._tokens = tokens
        self._guessed_until: WeakKeyDictionary[Row, int] = WeakKeyDictionary()

    def takes(self, rows: Sequence[Row]) -> bool:
        """Whether guessing pays for this batch."""
        return len(rows) <= MAX_ROWS and all(
            row.target is Segment.IMAGE and row.shadow is None for row in rows
        )

    def decode(self, rows: Sequence[Row]) -> tuple[int, ...]:
        """Draw at least one code of every row; how many codes of each are known more than before."""
        windows = [self._window(row) for row in rows]
        drawn = self._draw(windows)
        lengths: list[int] = []
        first = 0
        for window in windows:
            count = len(window.ids)
            own = [
                code if given is None else given
                for code, given in zip(drawn[first : first + count], window.given, strict=True)
            ]
            first += count
            targets = slice(window.start + 1, window.start + 1 + count)
            self._tokens[window.row.slot, targets] = torch.tensor(own)
            self._guessed_until[window.row] = targets.stop
            length = 1
            while length < count and window.ids[length] == own[length - 1]:
                length += 1
            lengths.append(length)
        return tuple(lengths)

    def _window(self, row: Row) -> _Window:
        config = self._config
        # Never more than a picture is wide: a step finishes one row of it at most, and none goes untold.
        count = min(MAX_WINDOW, config.image_width, row.group.end - 1 - row.position)
        line = self._tokens[row.slot].tolist()
        targets = range(row.position + 1, row.position + 1 + count)
        kept = row.group.work.kept
        given = [kept[place - config.image_start] if kept else None for place in targets]
        guessed_until = self._guessed_until.get(row, 0)
        for place, code in zip(targets, given, strict=True):
            if code is not None:
                line[place] = code
            elif place >= guessed_until:
                # The code above is the likeliest one that is known; the top row has its left neighbour's.
                above = place - config.image_width
                line[place] = line[above if above >= config.image_start else place - 1]
        return _Window(row, row.position, line[row.position : row.position + count], given)

    def _draw(self, windows: Sequence[_Window]) -> list[int]:
        """One draw behind every id of every window, in their order."""
        rows = [window.row for window in windows for _ in window.ids]
        positions = torch.tensor([w.start + nth for w in windows for nth in range(len(w.ids))])
        hidden = self._transformer.decode(
            torch.tensor([code for window in windows for code in window.ids]),
            positions,
            self._cache,
            torch.tensor([row.left_slot for row in rows]),
            torch.tensor([row.slot for row in rows]),
            groups=RowGroups(num_image=len(rows)),
        )
        settings = SamplingRows.of(
            temperature=[row.sampling.temperature for row in rows],
            top_k=[row.sampling.top_k for row in rows],
            top_p=[row.sampling.top_p for row in rows],
            seeds=[row.seed for row in rows],
            positions=(positions + 1).tolist(),
        )
        logits = self._transformer.image_logits(hidden, self._config.image_codebook_size)
        return sample(logits, settings).tolist()
