"""Images that clients send: each is decoded once in full, in a bounded pool.

The results are the file's own bytes. The worker decodes them again, with the same checks (`images`). URLs are
never fetched.
"""

import asyncio
import base64
import binascii
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote

from PIL import Image

from app.errors import ApiError, invalid
from images.bounds import MAX_PIXELS
from images.decoding import ImageError, ImageFault, read_image, require_alpha
from images.pixel_budget import PixelBudget
from images.structure import ImageKind

MAX_PIXELS_OF_REQUEST = 100_000_000
_CODES: dict[ImageFault, str] = {
    "empty": "unsupported_picture_format",
    "unsupported_format": "unsupported_picture_format",
    "too_small": "picture_size",
    "too_large": "picture_size",
    "too_long": "picture_size",
    "over_budget": "picture_size",
    "animated": "picture_animated",
    "no_alpha": "invalid_mask",
    "damaged": "invalid_picture",
}
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\v\f"
_URL_PREFIXES = ("http:", "https:", "ftp:", "file:", "//", "blob:")


@dataclass(frozen=True)
class Upload:
    """An image as it was sent: bytes of a file part, or base64 text. `param` is the path of its field."""

    source: str | bytes
    param: str
    needs_alpha: bool = False


class ImagePool:
    """Decodes at most `threads` images at a time, and at most the pixels of one image of the largest size.

    At most `max_waiting` images wait.
    """

    def __init__(self, *, threads: int, max_waiting: int, max_bytes: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="image")
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._pixels = PixelBudget(MAX_PIXELS)
        self._waiting = 0

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def check(self, uploads: list[Upload]) -> list[bytes]:
        """Decode all uploads and return their bytes in order. Raises ApiError (413, 422, 503)."""
        if self._waiting + len(uploads) > self._max_waiting and uploads:
            message = "Too many images are waiting to be decoded. Try again soon."
            raise ApiError(503, "pictures_busy", message, retry_after_s=2)
        self._waiting += len(uploads)
        try:
            files: list[bytes] = []
            num_pixels = 0
            for upload in uploads:
                data, pixels = await asyncio.get_running_loop().run_in_executor(
                    self._executor, self._check_one, upload, MAX_PIXELS_OF_REQUEST - num_pixels
                )
                files.append(data)
                num_pixels += pixels
            return files
        finally:
            self._waiting -= len(uploads)

    def _check_one(self, upload: Upload, max_pixels: int) -> tuple[bytes, int]:
        data = (
            upload.source if isinstance(upload.source, bytes) else decode_base64(upload.source, upload.param)
        )
        if len(data) > self._max_bytes:
            message = f"{upload.param} has {len(data)} bytes; an image may have {self._max_bytes} at most."
            raise ApiError(413, "picture_too_large", message, param=upload.param)
        return data, decode_fully(
            data, upload.param, max_pixels, needs_alpha=upload.needs_alpha, budget=self._pixels
        )


def decode_base64(text: str, param: str) -> bytes:
    """Return the bytes of a data URI or of bare base64 text.

    Both alphabets, lines (RFC 2045) and omitted padding are accepted (RFC 4648), because encoders differ.
    """
    start = text[:16].lstrip().lower()
    if start.startswith(_URL_PREFIXES):
        message = f"{param} is a URL; images are never fetched. Send the file as base64 or a data URI."
        raise invalid(message, param=param, code="picture_url_refused")
    encoded = text
    if start.startswith("data:"):
        header, comma, encoded = text.partition(",")
        if not comma or not header.strip().lower().endswith(";base64") or len(header) > 100:
            message = f"{param} is a data URI that cannot be read; write data:image/png;base64,…"
            raise invalid(message, param=param, code="invalid_picture")
        encoded = unquote(encoded) if "%" in encoded else encoded
    try:
        digits = encoded.encode("ascii").translate(_STANDARD_ALPHABET, _BLANKS).rstrip(b"=")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        message = f"{param} is not valid base64. Encode the bytes of the image file."
        raise invalid(message, param=param, code="invalid_picture") from None


def decode_fully(
    data: bytes,
    param: str,
    max_pixels: int = MAX_PIXELS,
    *,
    needs_alpha: bool = False,
    budget: PixelBudget | None = None,
) -> int:
    """Decode every pixel and return their number. Raises ApiError (413, 422) with the broken rule."""

    def count(image: Image.Image, _: ImageKind) -> int:
        if needs_alpha:
            require_alpha(image)
        return image.width * image.height

    try:
        return read_image(data, count, max_pixels=max_pixels, budget=budget)
    except ImageError as error:
        raise _refusal(error, param) from None


def _refusal(error: ImageError, param: str) -> ApiError:
    message = f"{param} {error.predicate}"
    if error.reason == "too_many_bytes":
        return ApiError(413, "picture_too_large", message, param=param)
    if error.reason == "over_budget":
        message = (
            f"The images of this request have more than {MAX_PIXELS_OF_REQUEST // 10**6} megapixels "
            "together; send smaller or fewer images."
        )
    return invalid(message, param=param, code=_CODES[error.reason])
