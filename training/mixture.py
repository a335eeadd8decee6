"""Batches of several tasks: functions of (seed, step), of exactly as many sequences as asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.data import Example
from training.sequences import LossWeights, RowBuilder, Rows
from training.state import epoch_indices, step_generator
from training.tasks import TaskData

PATTERN_LENGTH = 1000
"""Sequences after which the order of the tasks repeats."""
UNPROMPTED = "unprompted"


@dataclass(frozen=True)
class TaskExamples:
    """The examples of one task, with the codes of their images."""

    data: TaskData
    examples: Sequence[Example]
    rows: Sequence[int | None]
    """Index in `codes` of each example's image."""
    codes: Tensor
    """int16, shape = (images, views, cells)."""


@dataclass(frozen=True)
class _Stream:
    """A kind of sequence that the batches have."""

    name: str
    source: TaskExamples
    positions: list[int]
    """Its places in the pattern."""


class Mixture:
    """Draws the sequences of a step from all tasks, by their shares."""

    def __init__(
        self,
        sources: Sequence[TaskExamples],
        builder: RowBuilder,
        *,
        batch: int,
        seed: int,
        unconditional_share: float,
    ) -> None:
        """unconditional_share: sequences without a prompt, per sequence that draws; guidance needs them."""
        self._builder, self._batch, self._seed = builder, batch, seed
        named: list[tuple[str, TaskExamples, float]] = []
        for index, source in enumerate(sources):
            share = source.data.share
            named.append((f"{index} {source.data.task}", source, share))
            if source.data.task == "draw" and unconditional_share:
                named.append((f"{index} {UNPROMPTED}", source, share * unconditional_share))
        order = interleave([share for _, _, share in named])
        self._streams = [
            _Stream(name, source, [place for place, stream in enumerate(order) if stream == index])
            for index, (name, source, _) in enumerate(named)
        ]

    def __call__(self, step: int) -> list[Rows]:
        first = step * self._batch
        rows: list[Rows] = []
        for stream in self._streams:
            before = _count_before(stream.positions, first)
            count = _count_before(stream.positions, first + self._batch) - before
            if not count:
                continue
            chosen = epoch_indices(self._seed, before, count, len(stream.source.examples), stream.name)
            random = step_generator(self._seed, step, stream.name)
            rows += rows_of(
                self._builder, stream.source, chosen, random, prompted=UNPROMPTED not in stream.name
            )
        return rows


def rows_of(
    builder: RowBuilder,
    source: TaskExamples,
    chosen: Sequence[int],
    random: torch.Generator | None = None,
    *,
    prompted: bool = True,
) -> list[Rows]:
    """Return the sequences of some examples. random: chooses the views; None for the images themselves."""
    with_image = [index for index in chosen if source.rows[index] is not None]
    without = [index for index in chosen if source.rows[index] is None]
    rows: list[Rows] = []
    if with_image:
        codes = _codes(source, with_image, random)
        rows.append(_build(builder, source, with_image, codes, source.data.loss_weights, prompted=prompted))
    if without:
        rows.append(_build(builder, source, without, None, source.data.text_weights, prompted=prompted))
    return rows


def _codes(source: TaskExamples, chosen: Sequence[int], random: torch.Generator | None) -> Tensor:
    images = [source.rows[index] for index in chosen]
    views = torch.zeros(len(chosen), dtype=torch.long)
    if random is not None:
        views = torch.randint(source.codes.shape[1], (len(chosen),), generator=random)
    return source.codes[torch.tensor(images), views].long()


def _build(
    builder: RowBuilder,
    source: TaskExamples,
    chosen: Sequence[int],
    codes: Tensor | None,
    weights: LossWeights,
    *,
    prompted: bool,
) -> Rows:
    examples = [source.examples[index] for index in chosen]
    texts = [example.text for example in examples]
    match source.data.task:
        case "draw":
            assert codes is not None
            made = builder.text_to_image(texts, codes, weights) if prompted else None
            rows = made or builder.unconditional(codes, weights)
        case "caption" | "classify":
            assert codes is not None
            rows = builder.image_to_text(texts, codes, weights)
        case "answer":
            questions = [example.question for example in examples]
            rows = builder.answer(questions, texts, codes, weights)
        case "text":
            rows = builder.text_to_text(texts, source.data.loss_weights)
    kind = source.data.task if rows.kind == "name" else rows.kind
    return replace(rows, kind=kind, places=tuple(example.place for example in examples))


def interleave(shares: Sequence[float]) -> list[int]:
    """Return PATTERN_LENGTH indices of shares, each as often as its share, evenly spread.

    Smooth weighted round-robin: the next index is the one with the largest part of its share due.
    """
    total = sum(shares)
    if total <= 0 or min(shares) < 0:
        raise ValueError("The shares of the tasks must be positive.")
    credit = [0.0] * len(shares)
    order: list[int] = []
    for _ in range(PATTERN_LENGTH):
        credit = [value + share / total for value, share in zip(credit, shares, strict=True)]
        chosen = max(range(len(shares)), key=credit.__getitem__)
        credit[chosen] -= 1.0
        order.append(chosen)
    return order


def _count_before(positions: Sequence[int], end: int) -> int:
    """Return how often a stream comes before position `end` of the endlessly repeated pattern."""
    rounds, rest = divmod(end, PATTERN_LENGTH)
    return rounds * len(positions) + sum(position < rest for position in positions)
