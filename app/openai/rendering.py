"""How a generated image is returned: its size, its file format, and base64 or a data URI.

The model draws squares of one size. An image of another size is the centre of the drawn one, resampled with
Lanczos. The job draws PNG then, so that the image is encoded with loss once at most.
"""

import asyncio
import io
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from app.errors import ApiError
from app.fields import ImageFormat
from jobs.contract.worker_info import ModelInfo

MIN_SIDE, MAX_SIDE = 16, 4096
MAX_IMAGE_PIXELS = 3840 * 2160
MAX_REQUEST_PIXELS = 25_000_000
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
# As the workers encode (model/images.py).
_OPTIONS: dict[ImageFormat, dict[str, Any]] = {
    "png": {"compress_level": 1, "compress_type": zlib.Z_RLE},
    "jpeg": {"quality": 92, "subsampling": 0},
    "webp": {"quality": 90, "method": 2},
}


@dataclass(frozen=True)
class Rendering:
    """The form of the images of a reply."""

    width: int
    height: int
    format: ImageFormat
    compression: int | None
    drawn_side: int
    """Side of the images that the model draws, in pixels."""

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def job_format(self) -> ImageFormat:
        """The format in which the worker encodes the image."""
        return "png" if self.is_encoded_again else self.format

    @property
    def is_encoded_again(self) -> bool:
        return (self.width, self.height) != (self.drawn_side, self.drawn_side) or self.compression is not None

    @property
    def media_type(self) -> str:
        return f"image/{self.format}"


def rendering_of(
    size: str | None,
    image_format: ImageFormat | None,
    compression: int | None,
    num_images: int,
    model: ModelInfo,
    *,
    strict: bool,
) -> Rendering:
    """Return the form that a request asks for. `strict`: refuse sizes that the model does not draw.

    Raises ApiError 400 for a size that is not `auto` or WIDTHxHEIGHT, or out of bounds.
    """
    side = model.output_pixels
    width, height = _parse_size(size, side, strict=strict)
    if num_images * width * height > MAX_REQUEST_PIXELS:
        message = (
            f"n images of {width}x{height} have more than {MAX_REQUEST_PIXELS // 10**6} megapixels together. "
            "Send a smaller size or n."
        )
        raise ApiError(400, "invalid_size", message, param="size")
    image_format = image_format or "png"
    if image_format == "png":
        if compression not in (None, 100):
            message = (
                "output_compression is for jpeg and webp; a png is always lossless. Omit it, or send 100."
            )
            raise ApiError(400, "invalid_output_compression", message, param="output_compression")
        compression = None
    return Rendering(width, height, image_format, compression, side)


def _parse_size(size: str | None, side: int, *, strict: bool) -> tuple[int, int]:
    if size in (None, "", "auto", f"{side}x{side}"):
        return side, side
    found = _SIZE.fullmatch(size)
    if strict or found is None:
        offered = f"auto or {side}x{side}" + (
            ", which the loaded model draws" if strict else ", or another width and height such as 512x512"
        )
        raise ApiError(400, "invalid_size", f"size must be {offered}; got {size}.", param="size")
    width, height = int(found[1]), int(found[2])
    if (
        not MIN_SIDE <= min(width, height) <= max(width, height) <= MAX_SIDE
        or width * height > MAX_IMAGE_PIXELS
    ):
        message = (
            f"size must have sides between {MIN_SIDE} and {MAX_SIDE} and at most {MAX_IMAGE_PIXELS} pixels; "
            f"got {size}."
        )
        raise ApiError(400, "invalid_size", message, param="size")
    return width, height


class ImageRenderer:
    """Fits and encodes images in `threads` threads, so that the event loop does not wait."""

    def __init__(self, *, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="render")

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def render(self, data: bytes, rendering: Rendering) -> bytes:
        """Return the image file in its final form. `data`: the file that the worker encoded."""
        if not rendering.is_encoded_again:
            return data
        return await asyncio.get_running_loop().run_in_executor(self._executor, fit, data, rendering)


def fit(data: bytes, rendering: Rendering) -> bytes:
    """Return the centre of an image file, resampled and encoded."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        fitted = ImageOps.fit(
            image.convert("RGB"), (rendering.width, rendering.height), Image.Resampling.LANCZOS
        )
    options = dict(_OPTIONS[rendering.format])
    if rendering.compression is not None:
        options["quality"] = max(rendering.compression, 1)  # Pillow takes 0 for its default
    sink = io.BytesIO()
    fitted.save(sink, rendering.format, **options)
    return sink.getvalue()
