"""A Score in progress: sets of sequences that share a prefix, and the next chunk.

Sequences with the same prefix are scored on one copy of its keys and values. The start of a right text may
belong to the prefix, for example the first words of a template. No tensors but the results.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby

import torch
from torch import Tensor

from model.backends.base import Scores
from model.backends.batches import ScoreBatch
from model.config import ModelConfig
from model.tasks import Ids
from workers.engine.work import Score, Scored


class Prefix(Enum):
    """The part of a sequence that is read from the cache instead of computed."""

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
    """The beginning that all right texts share."""


@dataclass(frozen=True)
class ScoreChunk:
    """Sequences of a group that are scored in one pass."""

    group: "ScoreGroup"
    indices: tuple[int, ...]
    batch: ScoreBatch

    @property
    def tokens(self) -> int:
        return self.batch.tokens


@dataclass(eq=False)
class ScoreGroup:
    """One Score. The scheduler owns the slots; `record` stores the results."""

    owner: str
    order: tuple[int, int]
    work: Score
    config: ModelConfig
    sets: deque[ScoreSet] = field(init=False)
    left_slot: int | None = field(init=False, default=None)
    slot: int | None = field(init=False, default=None)
    progress: int = field(init=False, default=0)
    """Progress: sequences that were last reported as done."""
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
        """Return the first position that is not read from slots."""
        starts = {
            Prefix.NOTHING: 0,
            Prefix.LEFT: self.config.image_start,
            Prefix.LEFT_AND_IMAGE: self.config.right_start,
        }
        return starts[prefix]

    def next_chunk(self, max_tokens: int) -> ScoreChunk:
        """Take the next sequences: at least one, and no more than fit `max_tokens`."""
        current, work = self.sets[0], self.work
        start = self.start_of(current.prefix) + len(current.right)
        self.num_chunks += 1
        indices: list[int] = []
        length = 1
        while current.waiting:
            longer = max(length, len(work.sequences[current.waiting[0]].read_ids()) - start)
            if indices and longer * (len(indices) + 1) + len(current.right) > max_tokens:
                break
            indices.append(current.waiting.popleft())
            length = longer
        batch = ScoreBatch(
            sequences=tuple(work.sequences[index] for index in indices),
            start=start,
            length=length,
            left_slot=self.left_slot,
            slot=self.slot,
            shared_right=current.right,
            left=work.left,
            image=work.image,
            right=work.right,
        )
        return ScoreChunk(self, tuple(indices), batch)

    def record(self, chunk: ScoreChunk, scores: Scores) -> None:
        """Store the results of a chunk; waits until the device has them."""
        indices = list(chunk.indices)
        for column, values in (
            (self.ppl_left, scores.left),
            (self.ppl_image, scores.image),
            (self.ppl_right, scores.right),
        ):
            if column is not None and values is not None:
                column[indices] = values.get()
        self.num_done += len(indices)

    def result(self) -> Scored:
        return Scored(self.ppl_left, self.ppl_image, self.ppl_right)


def _sets(work: Score) -> list[ScoreSet]:
    def key(index: int) -> tuple[Ids, Ids]:
        sequence = work.sequences[index]
        if work.left:
            return ((), ())
        return (sequence.left, () if work.image else sequence.image)

    def length(index: int) -> int:
        return len(work.sequences[index].read_ids())

    by_key = sorted(range(len(work.sequences)), key=lambda index: (key(index), length(index)))
    sets: list[ScoreSet] = []
    for (left, image), members in groupby(by_key, key=key):
        waiting = deque(members)
        if left and image and len(waiting) > 1:
            right = _common([work.sequences[index].right for index in waiting])
            sets.append(ScoreSet(Prefix.LEFT_AND_IMAGE, left, image, waiting, right))
        else:
            # A single sequence computes the image in one pass with the text after it, which is as cheap.
            sets.append(ScoreSet(Prefix.LEFT if left else Prefix.NOTHING, left, image, waiting))
    return sets


def _common(texts: list[Ids]) -> Ids:
    """Return the beginning that all texts share, without the last id of the shortest."""
    first, last = min(texts), max(texts)
    count = 0
    while count < min(len(text) for text in texts) - 1 and first[count] == last[count]:
        count += 1
    return first[:count]
