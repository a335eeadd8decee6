"""AdamW over a network's parameters: decay for matrices only, the learning rate set step by step."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.schedule import ScheduleName, learning_rate_factor


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW with warm-up, a schedule and gradient clipping."""

    learning_rate: float
    warm_up_steps: int = 100
    schedule: ScheduleName = "cosine"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    max_gradient_norm: float = 1.0


class Optimizer:
    """AdamW whose whole state is a dictionary; the step number is the caller's."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], settings: OptimizerSettings, total_steps: int
    ) -> None:
        self._settings, self._total = settings, total_steps
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self._parameters:
            raise ValueError("every parameter is frozen: there is nothing to train")
        groups = [
            {"params": [p for p in self._parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in self._parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=settings.learning_rate,
            betas=settings.betas,
        )

    def step(self, step: int) -> Tensor:
        """Clip, update with the rate of `step`, clear the gradients; returns the norm before clipping."""
        settings = self._settings
        factor = learning_rate_factor(settings.schedule, step, self._total, settings.warm_up_steps)
        for group in self._adam.param_groups:
            group["lr"] = settings.learning_rate * factor
        norm = nn.utils.clip_grad_norm_(self._parameters, settings.max_gradient_norm)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, object]:
        return self._adam.state_dict()

    def load_state(self, state: dict[str, object]) -> None:
        self._adam.load_state_dict(state)
