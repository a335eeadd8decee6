"""Trains the transformer, from scratch or from a checkpoint, in both directions.

Knows `Transformer` and batches of rows; not where rows come from. One batch is a list of parts (one a
direction), each run forwards and backwards on its own, so that gradients accumulate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import PAD_ID
from model.transformer import Transformer
from training import network
from training.freezing import Part, freeze
from training.optimizer import Optimizer, OptimizerSettings
from training.precision import autocast
from training.sequences import Rows

RowBatches = Callable[[int], Sequence[Rows]]
"""step → parts of its batch; the same for the same step."""
INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class TransformerTraining:
    """How the transformer is trained."""

    total_steps: int
    optimizer: OptimizerSettings
    bf16: bool = True
    checkpoint_activations: bool = False
    """Compute activations anew on the way back: slower, and a large preset fits."""
    frozen: frozenset[Part] = frozenset()


class TransformerTrainer:
    """One optimiser step at a time, over `loop.run_loop`."""

    name = "transformer"

    def __init__(
        self,
        transformer: Transformer,
        batches: RowBatches,
        settings: TransformerTraining,
        *,
        draw: Callable[[Path], None] | None = None,
    ) -> None:
        """draw: writes a sample sheet of the network as it is."""
        self.transformer, self._batches, self._settings, self._draw = transformer, batches, settings, draw
        self._device = transformer.text_embeddings.weight.device
        freeze(transformer, settings.frozen)
        if settings.checkpoint_activations:
            network.recompute_activations(transformer)
        matrices = [weight for weight in transformer.transformer.parameters() if weight.ndim == 2]
        self._optimizer = Optimizer(
            transformer.parameters(), settings.optimizer, settings.total_steps, matrices=matrices
        )

    def train_step(self, step: int) -> dict[str, float]:
        parts = self._batches(step)
        total = sum(len(part.left) for part in parts)
        values: dict[str, list[float]] = {}
        for part in parts:
            losses = row_losses(self.transformer, part, self._device, bf16=self._settings.bf16)
            weights = part.weights
            weighed = [getattr(weights, name) * loss for name, loss in losses.items()]
            loss = torch.stack(weighed).sum() / (weights.left + weights.image + weights.right)
            (loss * (len(part.left) / total)).backward()
            for name, value in losses.items():
                values.setdefault(f"{part.kind}_{name}", []).append(float(value.detach()))
        norm = self._optimizer.step(step)
        return {name: sum(found) / len(found) for name, found in values.items()} | {"norm": float(norm)}

    def state(self) -> dict[str, Any]:
        return {"transformer": self.transformer.state_dict(), "optimizer": self._optimizer.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.transformer.load_state_dict(state["transformer"])
        self._optimizer.load_state(state["optimizer"])

    def write_sheet(self, path: Path) -> None:
        if self._draw is not None:
            self._draw(path)


def row_losses(
    transformer: Transformer, rows: Rows, device: torch.device, *, bf16: bool
) -> dict[str, Tensor]:
    """Mean cross-entropy of each segment that the rows have, by its name in `LossWeights`.

    Position i predicts position i + 1; padding is no target. Only the slice of the head that a segment uses
    is computed.
    """
    config = transformer.config
    ids = rows.target_ids().to(device)
    with autocast(device, enabled=bf16):
        hidden = network.encode(transformer, rows.input_ids().to(device))
        losses: dict[str, Tensor] = {}
        left_end, image_end, smoothing = config.image_start, config.right_start, rows.smoothing
        if rows.weights.left:
            logits = network.text_logits(transformer, hidden[:, : left_end - 1])
            losses["left"] = _cross_entropy(logits, ids[:, 1:left_end])
        if rows.codes is not None and rows.weights.image:
            logits = network.image_logits(transformer, hidden[:, left_end - 1 : image_end - 1])
            targets = ids[:, left_end:image_end]
            losses["image"] = _cross_entropy(logits, targets, ignore=-1, smoothing=smoothing.image)
        if rows.right is not None and rows.weights.right:
            logits = network.text_logits(transformer, hidden[:, image_end:-1])
            targets = ids[:, image_end + 1 :]
            losses["right"] = _cross_entropy(logits, targets, smoothing=smoothing.right)
    return losses


def _cross_entropy(
    logits: Tensor, targets: Tensor, *, ignore: int = PAD_ID, smoothing: float = 0.0
) -> Tensor:
    scores = logits.float().flatten(0, 1)
    return functional.cross_entropy(scores, targets.flatten(), ignore_index=ignore, label_smoothing=smoothing)


@torch.no_grad()
def initialise(transformer: Transformer, seed: int) -> None:
    """Fresh weights: normal matrices and tables, zero biases, unit norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * INITIAL_DEVIATION)
        if isinstance(module, nn.Linear):
            module.bias.zero_()
