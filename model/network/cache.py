"""The key/value cache: two pools a layer, so that sequences of one prompt share their left text.

Knows shapes only; the network decides what is written and read. The engine assigns the slots so that no two
running sequences write to the same one.
"""

import torch
from torch import Tensor

from model.config import ModelConfig


class KeyValueCache:
    """Keys and values of `num_left_slots` left texts and `num_slots` bodies (image and right text).

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

        def pools(slots: int, length: int) -> Tensor:
            # Zeros, not empty memory: a masked key of weight zero must still be a finite number.
            return torch.zeros(config.num_layers, slots, length, *per_token, device=device, dtype=dtype)

        # One tensor for all layers, so that a copy between slots is one operation.
        self._lefts = pools(num_left_slots, config.left_text_length)
        self._bodies = pools(num_slots, self.body_length)
        self.left, self.body = list(self._lefts), list(self._bodies)

    @property
    def bytes(self) -> int:
        """Size of both pools in bytes."""
        return self._lefts.nbytes + self._bodies.nbytes

    def copy_body(self, source: int, targets: Tensor, length: int) -> None:
        """Copy the first `length` body positions of slot `source` into the slots `targets`, shape = (n,)."""
        self._copy(self._bodies, source, targets, length)

    def copy_left(self, source: int, targets: Tensor, length: int) -> None:
        """Copy the first `length` left-text positions of left slot `source` into `targets`, shape = (n,)."""
        self._copy(self._lefts, source, targets, length)

    @staticmethod
    def _copy(pools: Tensor, source: int, targets: Tensor, length: int) -> None:
        part = pools[:, :, :length]
        part[:, targets] = part[:, source].unsqueeze(1).clone()
