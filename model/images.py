"""Decodes image files to pixels, and encodes pixels.

Knows orientation, transparency and resampling. Does not know codes or the network. Formats and bounds are in
`images`, which the API uses too.
"""

import io
import zlib
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from images.decoding import ImageError, read_image, require_alpha
from images.exif import orientation
from images.pixel_budget import PixelBudget
from images.structure import ImageKind

ImageFormat = Literal["png", "jpeg", "webp"]

UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG_LEVEL = 1
JPEG_QUALITY = 92
WEBP_QUALITY = 90
WEBP_EFFORT = 2


def open_image(data: bytes, budget: PixelBudget | None = None) -> Image.Image:
    """Decode a PNG, JPEG or WebP file to upright RGB, with transparent parts on white.

    `budget` is shared by the threads of a process. Raises ImageError for other formats, damaged files,
    several frames, and sizes beyond the bounds.
    """
    return _decode(data, _to_rgb, budget)


def redrawn_cells(
    mask: bytes, image_size: tuple[int, int], cells: int, budget: PixelBudget | None = None
) -> list[bool]:
    """Return which cells of the largest centred square of an image are drawn again.

    mask: an image file with alpha, of the image's size (width, height) in pixels; alpha 0 marks what is drawn
    again. Returns cells · cells flags, row by row: True for a cell with at least one pixel of alpha 0.
    Raises ImageError for a mask that `open_image` would refuse, without alpha, or of another size.
    """
    alpha = _decode(mask, _to_alpha, budget)
    if alpha.size != image_size:
        raise ImageError(
            "mask_size",
            f"has {image_size[0]}×{image_size[1]} px, its mask {alpha.width}×{alpha.height} px. "
            "Send a mask of the size of the image.",
        )
    transparent = np.asarray(_centred_square(alpha)) == 0
    length = transparent.shape[0]
    # A pixel on the border of two cells belongs to both.
    spans = [slice(cell * length // cells, -(-(cell + 1) * length // cells)) for cell in range(cells)]
    rows = [transparent[span].any(axis=0) for span in spans]
    return [bool(row[span].any()) for row in rows for span in spans]


def to_square_pixels(image: Image.Image, side: int) -> Tensor:
    """Return the largest centred square of an RGB image, resampled with Pillow's bilinear filter.

    Returns a float32 Tensor, shape = (3, side, side), in [0, 1].
    """
    square = _centred_square(image)
    if square.width != side:
        square = square.resize((side, side), Image.Resampling.BILINEAR)
    # With NumPy, because torch would start a pool of threads for every thread that reads images.
    pixels = np.asarray(square, dtype=np.uint8).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return torch.from_numpy(np.ascontiguousarray(pixels))


def pixels_to_bytes(pixels: Tensor) -> Tensor:
    """Convert pixels in [0, 1] to bytes by truncation of 255 · x, like the published package.

    pixels: Tensor, shape = (..., 3, height, width). Returns uint8, shape = (..., height, width, 3), on the
    same device.
    """
    return (pixels.float() * 255).to(torch.uint8).movedim(-3, -1).contiguous()


def encode_image(pixels: Tensor | npt.NDArray[np.uint8], image_format: ImageFormat = "png") -> bytes:
    """Encode pixels as an image file.

    pixels: uint8, shape = (height, width, 3). Raises ValueError for any other shape, dtype or format.
    """
    array = pixels.numpy(force=True) if isinstance(pixels, Tensor) else pixels
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"Pixels must be uint8 (height, width, 3), not {array.dtype} {array.shape}.")
    if image_format not in _ENCODERS:
        raise ValueError(f"The image format must be one of {', '.join(_ENCODERS)}; got {image_format!r}.")
    return _ENCODERS[image_format](array)


def _encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    sink = io.BytesIO()
    # Run lengths are faster here than the default strategy, and make smaller files (docs/adr).
    Image.fromarray(pixels).save(sink, "PNG", compress_level=PNG_LEVEL, compress_type=zlib.Z_RLE)
    return sink.getvalue()


def _encode_jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _encode_webp(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT)
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[[npt.NDArray[np.uint8]], bytes]] = {
    "png": _encode_png,
    "jpeg": _encode_jpeg,
    "webp": _encode_webp,
}


def _decode(
    data: bytes, convert: Callable[[Image.Image], Image.Image], budget: PixelBudget | None
) -> Image.Image:
    def upright(image: Image.Image, kind: ImageKind) -> Image.Image:
        turn = UPRIGHT.get(orientation(data, kind))
        # Conversion copies the pixels, so that the result keeps no buffers of the file.
        return convert(image if turn is None else image.transpose(turn))

    return read_image(data, upright, budget=budget)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit grey values at 255 instead of scaling them.
        grey = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _to_alpha(image: Image.Image) -> Image.Image:
    require_alpha(image)
    return image.convert("RGBA").getchannel("A")


def _centred_square(image: Image.Image) -> Image.Image:
    length = min(image.size)
    left = (image.width - length) // 2
    top = (image.height - length) // 2
    return image.crop((left, top, left + length, top + length))
