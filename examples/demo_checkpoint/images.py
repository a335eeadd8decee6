"""Converts images: tensors of shape (3, side, side) in [0, 1], files, base64, data URIs."""

import base64
import io
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor


def to_image(pixels: Tensor) -> Image.Image:
    """Convert pixels to an image."""
    return Image.fromarray((pixels.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())


def base64_png(pixels: Tensor) -> str:
    """Encode pixels as PNG in base64."""
    return _base64(to_image(pixels), "png")


def pixels_of(text: str) -> Tensor:
    """Decode an image file in base64 to pixels."""
    image = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    return torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).float() / 255.0


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """Return an image as a data URI of a file of this kind."""
    return f"data:image/{kind};base64,{_base64(image, kind, **options)}"


def lower_half(side: int) -> str:
    """Return a mask whose lower half is drawn again."""
    alpha = numpy.full((side, side), 255, numpy.uint8)
    alpha[side // 2 :] = 0
    mask = Image.new("LA", (side, side))
    mask.putalpha(Image.fromarray(alpha))
    return data_uri(mask, "png", optimize=True)


def _base64(image: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()
