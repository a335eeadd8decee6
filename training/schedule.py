"""Learning rates over the steps of a run, as factors of the peak."""

import math
from typing import Literal

ScheduleName = Literal["cosine", "one-cycle", "constant"]


def learning_rate_factor(
    name: ScheduleName, step: int, total_steps: int, warm_up_steps: int, *, floor: float = 0.02
) -> float:
    """Factor of the peak learning rate at `step`, in (0, 1].

    `cosine`: linear warm-up, then half a cosine down to `floor`. `one-cycle` (Smith, arXiv 1708.07120): half
    a cosine up over the warm-up, then half a cosine down to nearly zero. `constant`: linear warm-up only.
    """
    if step < warm_up_steps:
        rise = (step + 1) / warm_up_steps
        return (1 - math.cos(math.pi * rise)) / 2 if name == "one-cycle" else rise
    if name == "constant":
        return 1.0
    fall = (step - warm_up_steps) / max(1, total_steps - warm_up_steps)
    bottom = 1e-4 if name == "one-cycle" else floor
    return bottom + (1 - bottom) * (1 + math.cos(math.pi * min(1.0, fall))) / 2
