"""Trains the transformer, from scratch or from a checkpoint, in both directions.

A batch is a list of parts, one per direction. Each part has its own forward and backward pass, and gradients
accumulate. Sequences come from the caller.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.network.transformer import Transformer
from training import network
from training.distributed import ALONE, Processes
from training.freezing import Part, freeze
from training.losses import REFERENCE_EMBEDDING_GRADIENT, KindShare, Objective, plan_batch, summed_losses
from training.optimizer import Optimizer, OptimizerSettings
from training.precision import LossScale, Precision, autocast, settle
from training.sequences import Rows
from training.state import step_generator

RowBatches = Callable[[int], Sequence[Rows]]
"""step → parts of its batch, always the same for the same step."""
INITIAL_DEVIATION = 0.02
MAX_PLACES = 8


class NonFiniteLossError(ArithmeticError):
    """A step whose losses or gradients are not finite; the message names its sequences."""


@dataclass(frozen=True)
class TransformerTraining:
    """Settings of the training of the transformer."""

    total_steps: int
    optimizer: OptimizerSettings
    precision: Precision = "auto"
    checkpoint_activations: bool = False
    """Compute activations again in the backward pass: slower, with less memory."""
    frozen: frozenset[Part] = frozenset()
    objective: Objective = "masked"
    dropout: float = 0.0
    """Dropout of attention weights, attention outputs and feed-forward outputs; published: 0.1."""
    accumulate: int = 1
    """Pieces of each part, run in turn to save memory."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is what a checkpoint gets; 0: none."""
    lora_rank: int = 0
    """Rank of low-rank adapters (arXiv 2106.09685), trained instead of the weights; 0: none."""
    seed: int = 0
    """Seed of dropout."""


class TransformerTrainer:
    """Runs optimiser steps for `run_loop`."""

    name = "transformer"

    def __init__(
        self,
        transformer: Transformer,
        batches: RowBatches,
        settings: TransformerTraining,
        *,
        draw: Callable[[Path], None] | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """draw: writes a sample sheet of the current network."""
        self.transformer, self._batches, self._settings, self._draw = transformer, batches, settings, draw
        self._processes = processes
        self._device = transformer.text_embeddings.weight.device
        freeze(transformer, settings.frozen)
        if settings.lora_rank:
            from training.lora import add_adapters

            add_adapters(transformer, settings.lora_rank)
        if settings.dropout:
            network.add_dropout(transformer, settings.dropout)
        if settings.checkpoint_activations:
            network.recompute_activations(transformer)
        matrices = [weight for weight in transformer.transformer.parameters() if weight.ndim == 2]
        self._optimizer = Optimizer(
            transformer.parameters(), settings.optimizer, settings.total_steps, matrices=matrices
        )
        is_half = settle(self._device, settings.precision) == "fp16"
        self._scale = LossScale() if is_half else None
        self._average = self._trained() if settings.ema else {}
        self._average = {name: weight.clone() for name, weight in self._average.items()}

    def train_step(self, step: int) -> dict[str, float]:
        """Run a step; return its losses. Raises NonFiniteLossError before any weight has changed."""
        parts = self._batches(step)
        plan = plan_batch(self.transformer.config, parts, self._settings.objective)
        if self._settings.dropout:
            random = step_generator(self._settings.seed, step, f"dropout {self._processes.rank}")
            torch.manual_seed(random.initial_seed())
        self.transformer.train()
        values = {f"{kind}_{name}": 0.0 for kind, share in plan.items() for name in share.counts}
        values["loss"] = 0.0
        for part in parts:
            own = part.take(slice(self._processes.rank, None, self._processes.size))
            for piece in own.pieces(self._settings.accumulate):
                self._add_gradient(piece, plan[part.kind], values)
        self.transformer.eval()
        values = self._processes.add_values(values, self._device)
        self._processes.add_gradients(self.transformer.parameters())
        self._require_finite(values, parts, step)
        return values | self._update(step, parts)

    def _add_gradient(self, piece: Rows, share: KindShare, values: dict[str, float]) -> None:
        """Add the gradient of some sequences, and their losses to `values`."""
        is_reference = self._settings.objective == "reference"
        with autocast(self._device, self._settings.precision):
            losses = summed_losses(
                self.transformer,
                piece,
                self._settings.objective,
                embedding_gradient=REFERENCE_EMBEDDING_GRADIENT if is_reference else 1.0,
                dropout=self._settings.dropout,
            )
        if not losses:
            return
        loss = torch.stack([share.factor(targets) * summed for targets, summed in losses]).sum()
        (loss * (self._scale.value if self._scale else 1.0)).backward()
        values["loss"] += float(loss.detach())
        for targets, summed in losses:
            values[f"{piece.kind}_{targets.name}"] += float(summed.detach()) / share.counts[targets.name]

    def _update(self, step: int, parts: Sequence[Rows]) -> dict[str, float]:
        scale = self._scale.value if self._scale else 1.0
        norm = float(self._optimizer.clip(scale))
        finite = math.isfinite(norm)
        if self._scale is not None:
            try:
                self._scale.update(finite=finite)
            except FloatingPointError as error:
                raise self._non_finite(str(error), parts, step) from error
        elif not finite:
            raise self._non_finite("The gradient is not finite.", parts, step)
        if finite:
            self._optimizer.update(step)
            self._follow()
        self._optimizer.clear()
        return {"norm": norm, "learning_rate": self._optimizer.learning_rate(step)} if finite else {}

    def _require_finite(self, values: dict[str, float], parts: Sequence[Rows], step: int) -> None:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise self._non_finite(f"These losses are not finite: {', '.join(broken)}.", parts, step)

    def _non_finite(self, what: str, parts: Sequence[Rows], step: int) -> NonFiniteLossError:
        places = list(dict.fromkeys(place for part in parts for place in part.places))
        shown = ", ".join(places[:MAX_PLACES]) + (" …" if len(places) > MAX_PLACES else "")
        return NonFiniteLossError(
            f"{what} Step {step + 1} was not taken; the saved state is intact. Its examples: "
            f"{shown or 'unknown'}. Lower --learning-rate, or train with --precision fp32."
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights."""
        for name, weight in (self._trained() if self._settings.ema else {}).items():
            self._average[name].lerp_(weight.to(self._average[name]), 1.0 - self._settings.ema)

    def _trained(self) -> dict[str, Tensor]:
        return {
            name: weight.detach()
            for name, weight in self.transformer.named_parameters()
            if weight.requires_grad
        }

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights that a checkpoint gets: their moving average, if there is one."""
        return self._average or self._trained()

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"transformer": self._trained(), "optimizer": self._optimizer.state()}
        if self._average:
            state["average"] = self._average
        if self._scale is not None:
            state["scale"] = self._scale.state()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        load_trained(self.transformer, state["transformer"])
        self._optimizer.load_state(state["optimizer"])
        for name, weight in state.get("average", {}).items():
            self._average[name].copy_(weight)
        if self._scale is not None:
            self._scale.load_state(state["scale"])

    def write_sheet(self, path: Path) -> None:
        if self._draw is not None:
            self._draw(path)


def load_trained(transformer: Transformer, weights: dict[str, Tensor]) -> None:
    """Load trained weights; those that are missing stay as they are. Raises RuntimeError for unknown ones."""
    unknown = transformer.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise RuntimeError(f"The state has weights that the network lacks: {', '.join(unknown[:3])}.")


@torch.no_grad()
def initialise(transformer: Transformer, seed: int) -> None:
    """Set random weights: normal matrices and tables, zero biases, unit norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * INITIAL_DEVIATION)
        if isinstance(module, nn.Linear):
            module.bias.zero_()
