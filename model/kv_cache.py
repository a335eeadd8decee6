"""Memory of keys and values: two pools a layer, so that rows of one prompt share their left text.

Knows shapes and places only; the transformer decides what is written and read. Whoever owns the slots (the
engine) sees to it that no two running rows write to the same place.
"""

import torch
from torch import Tensor

from model.config import ModelConfig


class KeyValueCache:
    """Keys and values of `num_left_slots` left texts and of `num_slots` bodies (image and right text).

    `left[layer]`: shape = (num_left_slots, left_text_length, 2, heads, head_size), 2 = keys, values;
    `body[layer]`: shape = (num_slots, body_length, 2, heads, head_size).
    """

    def __init__(
        self,
        config: ModelConfig,
        num_left_slots: int,
        num_slots: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.num_left_slots = num_left_slots
        self.num_slots = num_slots
        self.dtype = dtype
        self.body_length = config.image_length + config.right_text_length
        per_token = (2, config.num_heads, config.head_size)

        def pools(slots: int, length: int) -> list[Tensor]:
            # Zeros, not empty memory: a masked key of weight zero must still be a finite number.
            return [
                torch.zeros(slots, length, *per_token, device=device, dtype=dtype)
                for _ in range(config.num_layers)
            ]

        self.left = pools(num_left_slots, config.left_text_length)
        self.body = pools(num_slots, self.body_length)

    @property
    def bytes(self) -> int:
        """Memory of both pools, in bytes."""
        return sum(pool.numel() * pool.element_size() for pool in (*self.left, *self.body))

    def copy_body(self, source: int, targets: Tensor, length: int) -> None:
        """Copy the first `length` body positions of slot `source` into the slots `targets`, shape = (n,)."""
        self._copy(self.body, source, targets, length)

    def copy_left(self, source: int, targets: Tensor, length: int) -> None:
        """Copy the first `length` left-text positions of left slot `source` into `targets`, shape = (n,)."""
        self._copy(self.left, source, targets, length)

    @staticmethod
    def _copy(pools: list[Tensor], source: int, targets: Tensor, length: int) -> None:
        for pool in pools:
            part = pool[:, :length]
            part[targets] = part[source].clone()
