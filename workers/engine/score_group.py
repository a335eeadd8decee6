"""A Score on its way: which sequences share a prefix, and which chunk comes next.

Knows positions and counts. What shares a prefix is scored against one copy of its keys and values; so are
right texts that begin alike, as those of one template do.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby

import torch
from torch import Tensor

from model.config import PAD_ID, ModelConfig
from model.tasks import Ids
from workers.engine.work import Score, Scored, ScoredSequence


class Prefix(Enum):
    """How much of a sequence is read from the cache instead of computed."""

    NOTHING = "nothing"
    LEFT = "left"
    LEFT_AND_IMAGE = "left and image"


@dataclass(eq=False)
class ScoreSet:
    """Sequences with one prefix, shortest first."""

    prefix: Prefix
    left: Ids
    image: Ids
    waiting: deque[int]
    right: Ids = ()
    """Behind left text and image: what the right texts begin with."""


@dataclass(frozen=True)
class ScoreChunk:
    """Sequences that are computed in one go, from position `start` on."""

    group: "ScoreGroup"
    indices: tuple[int, ...]
    start: int
    length: int
    """Positions of the longest sequence from `start` on."""
    left_slot: int | None
    slot: int | None
    right: Ids = ()
    """Ids right before `start` that are computed once for all sequences, behind what the slots hold."""

    @property
    def first(self) -> int:
        """Position of the first hidden state that the chunk computes."""
        return self.start - len(self.right)

    @property
    def tokens(self) -> int:
        return len(self.indices) * self.length + len(self.right)


@dataclass(eq=False)
class ScoreGroup:
    """The scheduler owns the slots; `ppl_*` fill up as chunks come back."""

    owner: str
    order: tuple[int, int]
    work: Score
    config: ModelConfig
    sets: deque[ScoreSet] = field(init=False)
    left_slot: int | None = field(init=False, default=None)
    slot: int | None = field(init=False, default=None)
    progress: int = field(init=False, default=0)
    """Sequences that were last reported as done."""
    num_chunks: int = field(init=False, default=0)
    """Chunks taken so far."""
    num_done: int = field(init=False, default=0)
    """Sequences of which the perplexities are known."""
    ppl_left: Tensor | None = field(init=False)
    ppl_image: Tensor | None = field(init=False)
    ppl_right: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.work.sequences)

        def column(asked: bool) -> Tensor | None:
            return torch.zeros(count, dtype=torch.float64) if asked else None

        self.ppl_left = column(self.work.left)
        self.ppl_image = column(self.work.image)
        self.ppl_right = column(self.work.right)
        self.sets = deque(_sets(self.work))

    @property
    def is_done(self) -> bool:
        return self.num_done == len(self.work.sequences)

    def start_of(self, prefix: Prefix) -> int:
        """First position that is not read from slots."""
        starts = {
            Prefix.NOTHING: 0,
            Prefix.LEFT: self.config.image_start,
            Prefix.LEFT_AND_IMAGE: self.config.right_start,
        }
        return starts[prefix]

    def next_chunk(self, max_tokens: int) -> ScoreChunk:
        """Take the next sequences, at least one, and no more than fit `max_tokens`."""
        current = self.sets[0]
        start = self.start_of(current.prefix) + len(current.right)
        self.num_chunks += 1
        indices: list[int] = []
        length = 1
        while current.waiting:
            longer = max(length, len(read_ids(self.work.sequences[current.waiting[0]])) - start)
            if indices and longer * (len(indices) + 1) + len(current.right) > max_tokens:
                break
            indices.append(current.waiting.popleft())
            length = longer
        return ScoreChunk(self, tuple(indices), start, length, self.left_slot, self.slot, current.right)

    def result(self) -> Scored:
        return Scored(self.ppl_left, self.ppl_image, self.ppl_right)


def _sets(work: Score) -> list[ScoreSet]:
    def key(index: int) -> tuple[Ids, Ids]:
        sequence = work.sequences[index]
        if work.left:
            return ((), ())
        return (sequence.left, () if work.image else sequence.image)

    def length(index: int) -> int:
        return len(read_ids(work.sequences[index]))

    by_key = sorted(range(len(work.sequences)), key=lambda index: (key(index), length(index)))
    sets: list[ScoreSet] = []
    for (left, image), members in groupby(by_key, key=key):
        waiting = deque(members)
        if left and image and len(waiting) > 1:
            right = _common([work.sequences[index].right for index in waiting])
            sets.append(ScoreSet(Prefix.LEFT_AND_IMAGE, left, image, waiting, right))
        else:
            # Alone, the image is as cheap to compute in one pass with the text behind it.
            sets.append(ScoreSet(Prefix.LEFT if left else Prefix.NOTHING, left, image, waiting))
    return sets


def read_ids(sequence: ScoredSequence) -> Ids:
    """Ids whose hidden states predict something that is scored.

    The last one predicts nothing, nor does the padding of a left text with nothing behind it.
    """
    ids = sequence.left + sequence.image + sequence.right
    end = len(ids)
    if not sequence.image and not sequence.right:
        while end and ids[end - 1] == PAD_ID:
            end -= 1
    return ids[: max(end - 1, 0)]


def _common(texts: list[Ids]) -> Ids:
    """What all texts begin with, up to before the last id of the shortest."""
    first, last = min(texts), max(texts)
    count = 0
    while count < min(len(text) for text in texts) - 1 and first[count] == last[count]:
        count += 1
    return first[:count]
