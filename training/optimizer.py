"""AdamW and Muon for a network: weight decay for matrices only, a learning rate per step."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.extras import require
from training.muon import Muon
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
    muon: bool = False
    """Use Muon for the matrices of the blocks: orthogonalised momentum (Jordan et al., 2024), scaled as in
    arXiv 2502.16982 (Liu et al.). It needs fewer steps from scratch, and more operations per step."""
    eight_bit: bool = False
    """Store the moments of AdamW in 8 bits (Dettmers et al., arXiv 2110.02861), with bitsandbytes."""


class Optimizer:
    """AdamW, with Muon for chosen matrices. The state is a dictionary; the caller counts the steps."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        settings: OptimizerSettings,
        total_steps: int,
        *,
        matrices: Iterable[nn.Parameter] = (),
    ) -> None:
        """matrices: those of `parameters` that Muon updates; a filter has one row per channel."""
        self._settings, self._total = settings, total_steps
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self._parameters:
            raise ValueError("Every parameter is frozen, so there is nothing to train.")
        rate, decay = settings.learning_rate, settings.weight_decay
        self._matrices = [p for p in matrices if p.requires_grad] if settings.muon else []
        taken = set(map(id, self._matrices))
        others = [p for p in self._parameters if id(p) not in taken]
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        self._parts: list[torch.optim.Optimizer] = []
        if groups:
            self._parts.append(_adamw(groups, settings))
        # Muon of torch takes two dimensions only, so it gets views that share memory with the weights.
        self._flat = [p.detach().view(len(p), -1) for p in self._matrices]
        if self._flat:
            # One learning rate fits both, because steps of Muon are scaled to the size of those of AdamW.
            self._parts.append(Muon(self._flat, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))

    def step(self, step: int) -> Tensor:
        """Clip, update with the rate of `step`, and clear the gradients. Return the norm before clipping."""
        norm = self.clip()
        self.update(step)
        self.clear()
        return norm

    def clip(self, loss_scale: float = 1.0) -> Tensor:
        """Divide the gradients by the scale of the loss, and clip them. Return the norm before clipping."""
        if loss_scale != 1.0:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(loss_scale)
        return nn.utils.clip_grad_norm_(self._parameters, self._settings.max_gradient_norm)

    def update(self, step: int) -> None:
        """Update the weights with the rate of `step`."""
        rate = self.learning_rate(step)
        for flat, matrix in zip(self._flat, self._matrices, strict=True):
            flat.grad = None if matrix.grad is None else matrix.grad.reshape(flat.shape)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        settings = self._settings
        factor = learning_rate_factor(settings.schedule, step, self._total, settings.warm_up_steps)
        return settings.learning_rate * factor

    def clear(self) -> None:
        """Drop the gradients."""
        for parameter in (*self._parameters, *self._flat):
            parameter.grad = None

    def state(self) -> dict[str, object]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def _adamw(groups: list[dict[str, Any]], settings: OptimizerSettings) -> torch.optim.Optimizer:
    rate, betas = settings.learning_rate, settings.betas
    if settings.eight_bit:
        bitsandbytes = require("bitsandbytes", "adamw8bit", "--optimizer adamw8bit")
        return bitsandbytes.optim.AdamW8bit(groups, lr=rate, betas=betas)
    is_cuda = all(parameter.is_cuda for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=is_cuda)
