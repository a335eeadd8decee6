"""A codebook that follows moving averages of the vectors assigned to each code.

Works on vectors only. Without initialization by clusters and without re-seeding, most codes stay unused.
"""

from typing import Any

import torch
from torch import Tensor

from training.state import step_generator

NUM_CLUSTER_ROUNDS = 10
UNUSED_BELOW = 0.05
"""A code with a lower moving average of assignments per step counts as unused."""


class MovingCodebook:
    """Code vectors, and moving averages of the number and the sum of the vectors assigned to each."""

    def __init__(self, num_codes: int, size: int, decay: float) -> None:
        self._decay = decay
        self.ready = False
        self.embedding = torch.zeros(num_codes, size)
        self._counts = torch.zeros(num_codes)
        self._sums = torch.zeros(num_codes, size)

    def start_from(self, embedding: Tensor) -> None:
        """Start from code vectors, shape = (codes, size)."""
        self.embedding = embedding.clone()
        self._counts = embedding.new_ones(len(embedding))
        self._sums = embedding.clone()
        self.ready = True

    def start_from_clusters(self, features: Tensor, seed: int) -> None:
        """Start from k-means clusters (Lloyd) of feature maps, shape = (batch, size, rows, columns)."""
        points = flatten(features)
        order = torch.randperm(len(points), generator=step_generator(seed, 0, "clusters"))
        centres = points[order[torch.arange(len(self.embedding)) % len(points)]].clone()
        for round_number in range(NUM_CLUSTER_ROUNDS):
            chosen = nearest(points, centres)
            counts = torch.bincount(chosen, minlength=len(centres)).float()
            sums = torch.zeros_like(centres).index_add_(0, chosen, points)
            empty = counts == 0
            centres = sums / counts.clamp(min=1)[:, None]
            fresh = step_generator(seed, round_number, "empty clusters")
            picks = torch.randint(len(points), (int(empty.sum()),), generator=fresh)
            centres[empty] = points[picks]
        self.start_from(centres)

    def nearest(self, features: Tensor) -> Tensor:
        """Return the codes of feature maps, shape = (batch, rows, columns)."""
        batch, _, rows, columns = features.shape
        return nearest(flatten(features.detach()), self.embedding).view(batch, rows, columns)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return code vectors, shape = (batch, size, rows, columns)."""
        return self.embedding[codes].permute(0, 3, 1, 2).contiguous()

    def update(self, features: Tensor, codes: Tensor) -> None:
        """Move the codes towards the vectors that were assigned to them."""
        points, chosen = flatten(features), codes.flatten()
        counts = torch.bincount(chosen, minlength=len(self.embedding)).float()
        sums = torch.zeros_like(self._sums).index_add_(0, chosen, points)
        self._counts = self._decay * self._counts + (1 - self._decay) * counts
        self._sums = self._decay * self._sums + (1 - self._decay) * sums
        self.embedding = self._sums / self._counts.clamp(min=1e-5)[:, None]

    def reseed(self, features: Tensor, seed: int, step: int) -> None:
        """Replace unused codes by random features of this batch."""
        unused = self._counts < UNUSED_BELOW
        points = flatten(features)
        picks = torch.randint(
            len(points), (int(unused.sum()),), generator=step_generator(seed, step, "reseed")
        )
        self._counts[unused] = 1.0
        self._sums[unused] = points[picks]
        self.embedding = self._sums / self._counts.clamp(min=1e-5)[:, None]

    def num_used(self) -> int:
        return int((self._counts >= UNUSED_BELOW).sum())

    def state(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "embedding": self.embedding,
            "counts": self._counts,
            "sums": self._sums,
        }

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Load a state to the device of the features."""
        self.ready = bool(state["ready"])
        self.embedding, self._counts, self._sums = (
            state[name].to(device) for name in ("embedding", "counts", "sums")
        )


def flatten(features: Tensor) -> Tensor:
    """Reshape (batch, size, rows, columns) to (batch · rows · columns, size)."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Return the index of the nearest centre; shapes (points, size), (centres, size) → (points,)."""
    return (2 * points @ centres.T - centres.square().sum(1)).argmax(1)
