"""Sample sheets: rows of images in one PNG."""

from pathlib import Path

import numpy
from PIL import Image
from torch import Tensor

from training.state import replace_file


def save_sheet(path: Path, pixels: Tensor, columns: int, *, margin: int = 2) -> None:
    """Write images as one sheet, left to right, then down.

    pixels: shape = (images, 3, side, side), in [0, 1].
    """
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    sheet = numpy.full(
        (rows * (height + margin) + margin, columns * (width + margin) + margin, 3), 128, numpy.uint8
    )
    images = (pixels.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for index, image in enumerate(images):
        top = margin + (index // columns) * (height + margin)
        left = margin + (index % columns) * (width + margin)
        sheet[top : top + height, left : left + width] = image
    with replace_file(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")
