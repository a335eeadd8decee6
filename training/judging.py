"""Which emoji on which background a picture shows, and pictures as base64.

Knows the demo's true pictures; nothing of servers.
"""

import base64
import io
from collections.abc import Sequence

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.emoji_pictures import EmojiSet


class Judge:
    """Finds which pair (emoji, background) a picture shows: the nearest of all true pictures."""

    def __init__(self, emoji: EmojiSet, side: int, backgrounds: Sequence[int]) -> None:
        self.pairs = [(index, ground) for index in range(len(emoji)) for ground in backgrounds]
        self._true = torch.cat(
            [_small(emoji.draw(self.pairs[i : i + 256], side)) for i in range(0, len(self.pairs), 256)]
        )

    def nearest(self, picture: Tensor) -> tuple[int, int]:
        """picture: shape = (3, side, side)"""
        distances = (self._true - _small(picture.unsqueeze(0))).square().sum(1)
        return self.pairs[int(distances.argmin())]


def _small(pixels: Tensor) -> Tensor:
    """Pooled to half the side: a shift of one pixel should not decide."""
    return functional.avg_pool2d(pixels, 2).flatten(1)


def base64_png(picture: Tensor) -> str:
    """picture: shape = (3, side, side), in [0, 1]"""
    data = (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(data).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def pixels_of(text: str) -> Tensor:
    """Shape = (3, side, side), in [0, 1]."""
    picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    return torch.from_numpy(numpy.asarray(picture).copy()).permute(2, 0, 1).float() / 255.0
