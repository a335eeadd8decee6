"""Recognises the emoji and the background of an image, and converts images to and from base64."""

import base64
import io
from collections.abc import Sequence

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from examples.demo_checkpoint.images import EmojiSet


class NearestPair:
    """Finds the pair (emoji, background) whose exact image is nearest to an image."""

    def __init__(self, emoji: EmojiSet, side: int, backgrounds: Sequence[int]) -> None:
        self.pairs = [(index, ground) for index in range(len(emoji)) for ground in backgrounds]
        self._true = torch.cat(
            [_small(emoji.draw(self.pairs[i : i + 256], side)) for i in range(0, len(self.pairs), 256)]
        )

    def nearest(self, image: Tensor) -> tuple[int, int]:
        """Return the nearest pair to an image, shape = (3, side, side)."""
        distances = (self._true - _small(image.unsqueeze(0))).square().sum(1)
        return self.pairs[int(distances.argmin())]


def _small(pixels: Tensor) -> Tensor:
    """Pool to half the side, so that a shift of one pixel does not decide."""
    return functional.avg_pool2d(pixels, 2).flatten(1)


def base64_png(image: Tensor) -> str:
    """Encode an image, shape = (3, side, side), in [0, 1], as PNG in base64."""
    data = (image.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(data).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def pixels_of(text: str) -> Tensor:
    """Decode an image file in base64 to pixels, shape = (3, side, side), in [0, 1]."""
    image = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    return torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).float() / 255.0
