"""The targets of a batch of sequences, and the weighted mean of their cross-entropies.

Two objectives. `masked` trains every code with the image head and ignores padding. `reference` is the loss of
the published packages (`forward(return_loss=True)` of rudolph 0.0.1rc8 and 0.0.1rc10): it also predicts the
pads of the left text, and trains the text head on the first code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from model.config import PAD_ID, ModelConfig
from model.network.transformer import Transformer
from training import network
from training.sequences import Rows

Objective = Literal["masked", "reference"]
IGNORED = -100
"""A target of this value is not counted."""
REFERENCE_EMBEDDING_GRADIENT = 0.1
"""Factor of the gradients of all embeddings in the published packages (CogView, arXiv 2105.13290)."""


@dataclass(frozen=True)
class Targets:
    """What consecutive positions of the sequences of one part predict."""

    name: Literal["left", "image", "right"]
    first: int
    """The first position that predicts; it predicts `ids[:, 0]`."""
    ids: Tensor
    """int64, shape = (sequences, positions); IGNORED where nothing is predicted."""
    weight: float
    smoothing: float = 0.0

    @property
    def uses_image_head(self) -> bool:
        return self.name == "image"

    @property
    def count(self) -> int:
        return int((self.ids != IGNORED).sum())


def targets_of(config: ModelConfig, rows: Rows, objective: Objective) -> list[Targets]:
    """Return the targets of sequences. Segments of weight 0 are left out."""
    build = _reference_targets if objective == "reference" else _masked_targets
    return [targets for targets in build(config, rows) if targets.weight]


def _masked_targets(config: ModelConfig, rows: Rows) -> list[Targets]:
    weights, smoothing = rows.weights, rows.smoothing
    found = [Targets("left", 0, _without_pads(rows.left[:, 1:]), weights.left)]
    if rows.codes is not None:
        found.append(Targets("image", config.image_start - 1, rows.codes, weights.image, smoothing.image))
    return found + _right_targets(config, rows)


def _reference_targets(config: ModelConfig, rows: Rows) -> list[Targets]:
    weights, smoothing = rows.weights, rows.smoothing
    pads = torch.arange(config.text_vocab_size - config.left_text_length, config.text_vocab_size)
    left = torch.where(rows.left == PAD_ID, pads, rows.left)[:, 1:]
    if rows.codes is None:
        return [Targets("left", 0, left, weights.left)]
    # The text head predicts the first code as if it were a text id.
    found = [Targets("left", 0, torch.cat([left, rows.codes[:, :1]], dim=1), weights.left)]
    image = rows.codes[:, 1:]
    if config.generation == 1 and rows.right is not None:
        # The image head of the first generation predicts the first id of the right text.
        image = torch.cat([image, rows.right[:, :1]], dim=1)
    found.append(Targets("image", config.image_start, image, weights.image, smoothing.image))
    return found + _right_targets(config, rows)


def _right_targets(config: ModelConfig, rows: Rows) -> list[Targets]:
    if rows.right is None:
        return []
    ids = _without_pads(rows.right[:, 1:])
    return [Targets("right", config.right_start, ids, rows.weights.right, rows.smoothing.right)]


def _without_pads(ids: Tensor) -> Tensor:
    return ids.masked_fill(ids == PAD_ID, IGNORED)


@dataclass(frozen=True)
class KindShare:
    """What the loss of one kind of sequence is divided by, over the whole batch."""

    counts: Mapping[str, int]
    """Targets by segment."""
    share: float
    """Share of the sequences of the batch."""
    weight: float
    """Sum of the loss weights of the segments that have targets."""

    def factor(self, targets: Targets) -> float:
        """Return the factor of a summed cross-entropy in the loss of the batch; 0 without targets."""
        count = self.counts.get(targets.name, 0)
        return self.share * targets.weight / (self.weight * count) if count else 0.0


def plan_batch(config: ModelConfig, parts: Sequence[Rows], objective: Objective) -> dict[str, KindShare]:
    """Return the divisors of each kind of sequence in a batch.

    They are counted over the whole batch, so a batch that runs in pieces, or on several devices, has the
    gradient of a batch that runs at once. A segment without targets has no weight.
    """
    total = sum(len(part.left) for part in parts)
    counts: dict[str, dict[str, int]] = {}
    weights: dict[str, dict[str, float]] = {}
    sizes: dict[str, int] = {}
    for part in parts:
        sizes[part.kind] = sizes.get(part.kind, 0) + len(part.left)
        for targets in targets_of(config, part, objective):
            of_kind = counts.setdefault(part.kind, {})
            of_kind[targets.name] = of_kind.get(targets.name, 0) + targets.count
            weights.setdefault(part.kind, {})[targets.name] = targets.weight
    plan: dict[str, KindShare] = {}
    for kind, size in sizes.items():
        used = {name: count for name, count in counts.get(kind, {}).items() if count}
        weight = sum(weights[kind][name] for name in used)
        plan[kind] = KindShare(used, size / total, weight)
    return plan


def summed_losses(
    transformer: Transformer,
    rows: Rows,
    objective: Objective,
    *,
    embedding_gradient: float = 1.0,
    dropout: float = 0.0,
) -> list[tuple[Targets, Tensor]]:
    """Return the summed cross-entropy of each segment with targets.

    Only the slice of the head for the segment is computed. embedding_gradient, dropout: see
    `network.encode`.
    """
    device = transformer.text_embeddings.weight.device
    segments = [t for t in targets_of(transformer.config, rows, objective) if t.count]
    if not segments:
        return []
    hidden = network.encode(
        transformer, rows.input_ids().to(device), embedding_gradient=embedding_gradient, dropout=dropout
    )
    losses: list[tuple[Targets, Tensor]] = []
    for targets in segments:
        head = network.image_logits if targets.uses_image_head else network.text_logits
        positions = slice(targets.first, targets.first + targets.ids.shape[1])
        logits = head(transformer, hidden[:, positions]).float().flatten(0, 1)
        loss = functional.cross_entropy(
            logits,
            targets.ids.flatten().to(device),
            ignore_index=IGNORED,
            label_smoothing=targets.smoothing,
            reduction="sum",
        )
        losses.append((targets, loss))
    return losses


def mean_losses(transformer: Transformer, rows: Rows, objective: Objective = "masked") -> dict[str, Tensor]:
    """Return the mean cross-entropy of each segment with targets, by its name in `LossWeights`."""
    return {t.name: loss / t.count for t, loss in summed_losses(transformer, rows, objective)}
