"""Picture files for tests."""

import io

import numpy as np
from PIL import Image


def file_of(picture, image_format="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def noise(width, height, channels=3) -> Image.Image:
    values = np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(values)
