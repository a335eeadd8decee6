"""Learning rate schedules, as factors of the peak."""

import math
from typing import Literal

ScheduleName = Literal["cosine", "one-cycle", "constant"]

ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 500
"""The published training code: OneCycleLR of torch with `final_div_factor=500`."""
ONE_CYCLE_RISE = 0.3
"""Share of the steps before the peak, there."""


def learning_rate_factor(
    name: ScheduleName, step: int, total_steps: int, warm_up_steps: int, *, floor: float = 0.02
) -> float:
    """Return the factor of the peak learning rate at `step`, in (0, 1].

    `cosine`: linear warm-up, then half a cosine down to `floor`. `one-cycle` (Smith, arXiv 1708.07120): half
    a cosine from ONE_CYCLE_START to the peak, then half a cosine down to ONE_CYCLE_END. `constant`: linear
    warm-up only.
    """
    if name == "one-cycle":
        return _one_cycle(step, total_steps, warm_up_steps)
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    if name == "constant":
        return 1.0
    fall = (step - warm_up_steps) / max(1, total_steps - warm_up_steps)
    return _half_cosine(1.0, floor, min(1.0, fall))


def default_warm_up(name: ScheduleName, total_steps: int) -> int:
    """Return the steps before the peak: 30 % for `one-cycle`, else a tenth of the steps, at most 100."""
    return round(ONE_CYCLE_RISE * total_steps) if name == "one-cycle" else min(100, total_steps // 10)


def _one_cycle(step: int, total_steps: int, warm_up_steps: int) -> float:
    peak = warm_up_steps - 1
    if step < peak:
        return _half_cosine(ONE_CYCLE_START, 1.0, step / peak)
    return _half_cosine(1.0, ONE_CYCLE_END, min(1.0, (step - peak) / max(1, total_steps - 1 - peak)))


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
