"""AdamW and Muon over a network's parameters: decay for weights only, the learning rate set step by step."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
    muon: bool = False
    """Orthogonalised momentum for the matrices of the blocks (Jordan et al., 2024; scaled as in Liu et al.,
    arXiv 2502.16982): fewer steps from scratch, at a few more operations each."""


class Optimizer:
    """AdamW, with Muon for chosen matrices; the whole state is a dictionary, the step number the caller's."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        settings: OptimizerSettings,
        total_steps: int,
        *,
        matrices: Iterable[nn.Parameter] = (),
    ) -> None:
        """matrices: those among `parameters` that `settings.muon` is for; of filters, one row a channel."""
        self._settings, self._total = settings, total_steps
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self._parameters:
            raise ValueError("every parameter is frozen: there is nothing to train")
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
            self._parts.append(torch.optim.AdamW(groups, lr=rate, betas=settings.betas))
        # torch's Muon takes two dimensions only: views, that share their numbers with the weights.
        self._flat = [p.detach().view(len(p), -1) for p in self._matrices]
        if self._flat:
            # One learning rate fits both: Muon's steps are scaled to the size of AdamW's.
            muon = torch.optim.Muon(self._flat, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            self._parts.append(muon)

    def step(self, step: int) -> Tensor:
        """Clip, update with the rate of `step`, clear the gradients; returns the norm before clipping."""
        settings = self._settings
        factor = learning_rate_factor(settings.schedule, step, self._total, settings.warm_up_steps)
        norm = nn.utils.clip_grad_norm_(self._parameters, settings.max_gradient_norm)
        for flat, matrix in zip(self._flat, self._matrices, strict=True):
            flat.grad = None if matrix.grad is None else matrix.grad.reshape(flat.shape)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = settings.learning_rate * factor
            part.step()
        for parameter in (*self._parameters, *self._flat):
            parameter.grad = None
        return norm

    def state(self) -> dict[str, object]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)
