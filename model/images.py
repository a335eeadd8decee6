"""Picture files to pixels and back.

Knows formats, limits and resampling; knows neither codes nor the network. Limits are checked on the file's
header, before anything is decoded.
"""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from model.png import encode_png

PictureFormat = Literal["png", "jpeg", "webp"]
PictureFault = Literal[
    "empty",
    "too_many_bytes",
    "unsupported_format",
    "damaged",
    "too_small",
    "too_large",
    "too_long",
    "animated",
    "no_alpha",
    "mask_size",
]

MAX_PICTURE_BYTES = 10 * 1000 * 1000
MIN_SIDE_PIXELS = 16
MAX_SIDE_PIXELS = 8192
MAX_PIXELS = 25 * 1000 * 1000
MAX_ASPECT = 16

MIN_HEADER_BYTES = 30
EXIF_ORIENTATION = 0x0112
UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
JPEG_QUALITY = 92
WEBP_QUALITY = 90
WEBP_EFFORT = 2

# What Pillow's three decoders raise on hostile or damaged files.
_DECODING_ERRORS = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    AssertionError,  # a palette picture without a palette
    struct.error,
    zlib.error,
)


class PictureError(ValueError):
    """A picture that is refused. The message is fit for a client; `reason` is for programs."""

    def __init__(self, reason: PictureFault, message: str) -> None:
        super().__init__(message)
        self.reason: PictureFault = reason


def open_picture(data: bytes) -> Image.Image:
    """Decode a PNG, JPEG or WebP file to upright RGB, transparency flattened on white.

    Raises PictureError for other formats, damaged files, several frames, and sizes beyond the limits above.
    """
    return _decode(data, _to_rgb)


def redrawn_cells(mask: bytes, picture_size: tuple[int, int], cells: int) -> list[bool]:
    """Which cells of a picture's largest centred square a mask asks to draw anew.

    mask: a picture file with alpha, of the picture's size (width, height) in pixels; alpha 0 means draw anew.
    Returns cells · cells flags, row by row: True where the cell holds at least one pixel of alpha 0.
    Raises PictureError for a mask that `open_picture` would refuse, without alpha, or of another size.
    """
    alpha = _decode(mask, _to_alpha)
    if alpha.size != picture_size:
        raise PictureError(
            "mask_size",
            f"the mask is {alpha.width}×{alpha.height} pixels, "
            f"the picture {picture_size[0]}×{picture_size[1]}",
        )
    transparent = np.asarray(_centred_square(alpha)) == 0
    length = transparent.shape[0]
    # A pixel on the border of two cells belongs to both.
    spans = [slice(cell * length // cells, -(-(cell + 1) * length // cells)) for cell in range(cells)]
    rows = [transparent[span].any(axis=0) for span in spans]
    return [bool(row[span].any()) for row in rows for span in spans]


def to_square_pixels(picture: Image.Image, side: int) -> Tensor:
    """Largest centred square of an RGB picture, resampled with Pillow's bilinear filter.

    Returns a float32 Tensor, shape = (3, side, side), in [0, 1].
    """
    square = _centred_square(picture)
    if square.width != side:
        square = square.resize((side, side), Image.Resampling.BILINEAR)
    # By NumPy: torch would give every thread that reads pictures a team of threads of its own.
    pixels = np.asarray(square, dtype=np.uint8).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return torch.from_numpy(np.ascontiguousarray(pixels))


def pixels_to_bytes(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] to bytes, by truncation of 255 · x as the reference does.

    pixels: Tensor, shape = (..., 3, height, width). Returns uint8, shape = (..., height, width, 3), on the
    same device.
    """
    return (pixels.float() * 255).to(torch.uint8).movedim(-3, -1).contiguous()


def encode_picture(pixels: Tensor | npt.NDArray[np.uint8], picture_format: PictureFormat = "png") -> bytes:
    """Encode bytes to a picture file.

    pixels: uint8, shape = (height, width, 3). Raises ValueError for any other shape, dtype or format.
    """
    array = pixels.numpy(force=True) if isinstance(pixels, Tensor) else pixels
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"pixels must be uint8 (height, width, 3), not {array.dtype} {array.shape}")
    if picture_format not in _ENCODERS:
        raise ValueError(f"no picture format {picture_format!r}; there are {', '.join(_ENCODERS)}")
    return _ENCODERS[picture_format](array)


def _encode_jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _encode_webp(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT)
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[[npt.NDArray[np.uint8]], bytes]] = {
    "png": encode_png,
    "jpeg": _encode_jpeg,
    "webp": _encode_webp,
}


def _decode(data: bytes, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    format_name = _recognise(data)
    # WebP's decoder allocates the canvas when the file is opened, so its header is read here first.
    if format_name == "WEBP":
        _check_size(*_webp_size(data))
    try:
        with Image.open(io.BytesIO(data), formats=[format_name]) as picture:
            _check_size(*picture.size)
            # A phone's JPEG may carry further pictures (MPO: a depth map); the first is the picture.
            if format_name != "JPEG" and getattr(picture, "n_frames", 1) != 1:
                raise PictureError("animated", "the picture is animated; a single frame is needed")
            picture.load()
            return convert(_to_upright(picture))
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError("too_large", _too_large()) from None
    except _DECODING_ERRORS:
        raise PictureError("damaged", f"the {format_name} file is damaged and cannot be decoded") from None


def _recognise(data: bytes) -> str:
    """Pillow's name of the format, by the first bytes alone."""
    if not data:
        raise PictureError("empty", "the picture is empty")
    if len(data) > MAX_PICTURE_BYTES:
        megabytes = MAX_PICTURE_BYTES // 1_000_000
        raise PictureError("too_many_bytes", f"the picture file is larger than {megabytes} MB")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    raise PictureError("unsupported_format", "the picture is neither PNG nor JPEG nor WebP")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels by the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    chunk = data[12:16]
    if len(data) < MIN_HEADER_BYTES:
        chunk = b""
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        packed = int.from_bytes(data[21:25], "little")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise PictureError("damaged", "the WEBP file is damaged and cannot be decoded")


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE_PIXELS:
        raise PictureError(
            "too_small",
            f"the picture is {width}×{height} pixels; at least {MIN_SIDE_PIXELS} a side are needed",
        )
    if max(width, height) > MAX_SIDE_PIXELS or width * height > MAX_PIXELS:
        raise PictureError("too_large", _too_large())
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PictureError("too_long", f"the picture is more than {MAX_ASPECT} times as long as it is wide")


def _too_large() -> str:
    return (
        f"the picture has more than {MAX_SIDE_PIXELS} pixels a side "
        f"or more than {MAX_PIXELS // 1_000_000} megapixels"
    )


def _to_upright(picture: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a broken EXIF block counts as none."""
    try:
        orientation = int(picture.getexif().get(EXIF_ORIENTATION, 1))
    except (*_DECODING_ERRORS, UserWarning):
        return picture
    turn = UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # Pillow would cut 16-bit greys off at 255 instead of scaling them.
        grey = np.asarray(picture).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    # A copy, so that nothing keeps the file's buffers alive.
    return picture.convert("RGB") if picture.mode != "RGB" else picture.copy()


def _to_alpha(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        raise PictureError("no_alpha", "the mask has no alpha channel")
    return picture.convert("RGBA").getchannel("A")


def _centred_square(picture: Image.Image) -> Image.Image:
    length = min(picture.size)
    left = (picture.width - length) // 2
    top = (picture.height - length) // 2
    return picture.crop((left, top, left + length, top + length))
