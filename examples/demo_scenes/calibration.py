"""Temperatures at which the probabilities of candidates are as high as the share of right choices.

One temperature for each task is fitted by temperature scaling: Guo et al. 2017, "On Calibration of Modern
Neural Networks", https://arxiv.org/abs/1706.04599.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from examples.demo_scenes.quality import SceneQuality

CLASSES = 20
RANKED = 10
_GRID: Final = torch.logspace(-2, 1, 301).tolist()
"""The range of `temperature` in generation_config.json, in steps of 2.3 %."""


@dataclass(frozen=True)
class Judged:
    """One choice among candidates."""

    surprises: list[float]
    """Of each candidate; the lowest is chosen."""
    label: int
    """Index of the right candidate."""


@dataclass(frozen=True)
class Calibration:
    """The fitted temperature of a task, and its effect on choices that were not used to fit it."""

    temperature: float
    gap_before: float
    """|mean probability of the chosen candidate − share of right choices|, in points."""
    gap_after: float
    count: int
    """Number of choices for the two gaps."""


def fit_temperature(judged: Sequence[Judged]) -> float:
    """Return the temperature with the lowest mean of −log(probability of the right candidate)."""
    surprises, labels = _tensors(judged)
    losses = [cross_entropy(-surprises / value, labels).item() for value in _GRID]
    return float(f"{_GRID[losses.index(min(losses))]:.3g}")


def confidence_gap(judged: Sequence[Judged], temperature: float) -> float:
    """Return |mean probability of the chosen candidate − share of right choices|, in points."""
    surprises, labels = _tensors(judged)
    highest, chosen = torch.softmax(-surprises / temperature, 1).max(1)
    return 100 * abs(highest.mean() - (chosen == labels).double().mean()).item()


def _tensors(judged: Sequence[Judged]) -> tuple[Tensor, Tensor]:
    surprises = torch.tensor([item.surprises for item in judged], dtype=torch.float64)
    return surprises, torch.tensor([item.label for item in judged])


def calibrated(judged: Sequence[Judged]) -> Calibration:
    """Fit on every second choice, and measure on the others; on all if there is one choice only."""
    temperature = fit_temperature(judged[::2])
    others = judged[1::2] or judged
    return Calibration(
        temperature, confidence_gap(others, 1.0), confidence_gap(others, temperature), len(others)
    )


async def calibrate(quality: SceneQuality) -> dict[str, Calibration]:
    """Return the calibration of each task that scores candidates."""
    server, things, chosen = quality.server, quality.cast.things, quality.chosen_things()

    def names(candidates: Sequence[int]) -> list[str]:
        return [things[index].name for index in candidates]

    async def classified(thing: int) -> Judged:
        classes = quality.with_others(thing, CLASSES, "calibrated classes")
        surprises = await server.class_surprises(quality.moved(thing, 4), names(classes))
        return Judged(surprises, classes.index(thing))

    async def ranked_images(thing: int) -> Judged:
        others = quality.with_others(thing, RANKED, "calibrated images")
        images = torch.stack([quality.moved(other, 5) for other in others])
        return Judged(await server.image_scores(things[thing].name, images), others.index(thing))

    async def ranked_texts(thing: int) -> Judged:
        texts = quality.with_others(thing, RANKED, "calibrated texts")
        scores = await server.text_scores(quality.moved(thing, 6), names(texts))
        return Judged(scores, texts.index(thing))

    judges = {"classify": classified, "rank_images": ranked_images, "rank_texts": ranked_texts}
    return {task: calibrated(await quality.each(chosen, judge)) for task, judge in judges.items()}
