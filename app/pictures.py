"""Pictures that clients send: told apart by their first bytes, measured, and decoded once in full, in a
bounded pool.

What comes out are the file's own bytes: the worker decodes again, and knows then that it can. Addresses are
never fetched.
"""

import asyncio
import base64
import binascii
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from PIL import Image

from app.errors import ApiError, invalid
from app.picture_files import fault_of_structure, picture_kind, webp_size

MIN_SIDE = 16
MAX_SIDE = 8192
MAX_PIXELS = 25_000_000
MAX_PIXELS_OF_REQUEST = 100_000_000
MAX_ASPECT = 16
_ADDRESSES = ("http:", "https:", "ftp:", "file:", "//", "blob:")


@dataclass(frozen=True)
class Upload:
    """A picture as it came: bytes of a file part, or base64 text. `param` is its JSON path."""

    source: str | bytes
    param: str
    needs_alpha: bool = False


class PicturePool:
    """At most `threads` pictures are decoded at a time, and `max_waiting` may wait for their turn."""

    def __init__(self, *, threads: int, max_waiting: int, max_bytes: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="picture")
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting = 0

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def check(self, uploads: list[Upload], *, prefix: str = "") -> list[bytes]:
        """Bytes of each upload, in order, once all have been decoded. Raises ApiError (413, 422, 503).

        `prefix` stands before the path of a picture that is refused.
        """
        uploads = [replace(upload, param=prefix + upload.param) for upload in uploads]
        if self._waiting + len(uploads) > self._max_waiting and uploads:
            message = "Too many pictures are waiting to be decoded. Try again soon."
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
            message = f"{upload.param} has {len(data)} bytes; a picture may have {self._max_bytes} at most."
            raise ApiError(413, "picture_too_large", message, param=upload.param)
        return data, decode_fully(data, upload.param, max_pixels, needs_alpha=upload.needs_alpha)


def decode_base64(text: str, param: str) -> bytes:
    """Bytes of a data URI or of bare base64 text."""
    start = text[:16].lstrip().lower()
    if start.startswith(_ADDRESSES):
        message = f"{param} is an address; pictures are never fetched. Send the file as base64 or a data URI."
        raise invalid(message, param=param, code="picture_url_refused")
    encoded = text
    if start.startswith("data:"):
        header, comma, encoded = text.partition(",")
        if not comma or not header.strip().lower().endswith(";base64") or len(header) > 100:
            message = f"{param} is a data URI that cannot be read; write data:image/png;base64,…"
            raise invalid(message, param=param, code="invalid_picture")
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        message = f"{param} is not valid base64. Encode the picture's file with the standard alphabet."
        raise invalid(message, param=param, code="invalid_picture") from None


def decode_fully(data: bytes, param: str, max_pixels: int = MAX_PIXELS, *, needs_alpha: bool = False) -> int:
    """Decode every pixel; the number of pixels is returned. Raises ApiError 422 with the rule that was
    broken.
    """
    kind = picture_kind(data)
    if kind is None:
        message = f"{param} is not a PNG, JPEG or WebP file. Convert the picture to one of these."
        raise invalid(message, param=param, code="unsupported_picture_format")
    _check_structure(data, kind, param)
    try:
        # WebP's decoder takes memory for the whole canvas on opening, so its header is read here first.
        if kind == "WEBP":
            _check_size(webp_size(data), param, max_pixels)
        with Image.open(io.BytesIO(data), formats=[kind]) as picture:
            _check_size(picture.size, param, max_pixels)
            if kind == "JPEG":
                _check_structure(data, kind, param, picture.width * picture.height)
            # A phone's JPEG may carry further pictures (a depth map); the first is the picture.
            if kind != "JPEG" and getattr(picture, "n_frames", 1) != 1:
                message = f"{param} is animated; send a picture with one frame."
                raise invalid(message, param=param, code="picture_animated")
            picture.load()
            # Also refuses a palette picture without a palette, which nothing could make RGB of.
            transparent = picture.has_transparency_data
            if needs_alpha and not transparent:
                message = f"{param} has no transparency; its alpha 0 says where to draw anew."
                raise invalid(message, param=param, code="invalid_mask")
            return picture.width * picture.height
    except ApiError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(param) from None
    except (
        Exception
    ):  # Pillow raises whatever a broken file leads it to: OSError, SyntaxError, struct.error …
        message = f"{param} is damaged: it begins as {kind} but cannot be decoded. Save the picture again."
        raise invalid(message, param=param, code="invalid_picture") from None


def _check_structure(data: bytes, kind: str, param: str, num_pixels: int = 0) -> None:
    if fault := fault_of_structure(data, kind, num_pixels):
        raise invalid(f"{param} {fault}. Save the picture again.", param=param, code="invalid_picture")


def _check_size(size: tuple[int, int], param: str, max_pixels: int) -> None:
    width, height = size
    short, long = min(size), max(size)
    if short < MIN_SIDE or long > MAX_SIDE:
        message = f"{param} is {width}×{height} px; each side must be between {MIN_SIDE} and {MAX_SIDE} px."
        raise invalid(message, param=param, code="picture_size")
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(param)
    if width * height > max_pixels:
        message = (
            f"The pictures of this request have more than {MAX_PIXELS_OF_REQUEST // 10**6} megapixels "
            "together; send smaller or fewer pictures."
        )
        raise invalid(message, param=param, code="picture_size")
    if long > short * MAX_ASPECT:
        message = (
            f"{param} is {width}×{height} px; the long side may be {MAX_ASPECT} times the short one at most."
        )
        raise invalid(message, param=param, code="picture_size")


def _too_many_pixels(param: str) -> ApiError:
    message = f"{param} has more than {MAX_PIXELS // 10**6} megapixels; scale it down."
    return invalid(message, param=param, code="picture_size")
