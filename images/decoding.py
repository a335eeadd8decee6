"""Decodes image files within bounds. The API and the worker both read files of clients with `read_image`."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Literal, TypeVar

from PIL import Image

from images.bounds import MAX_ASPECT, MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE, MIN_SIDE
from images.pixel_budget import PixelBudget
from images.structure import ImageKind, image_kind, structure_fault, webp_size, without_metadata
from images.transparency import with_alpha

ImageFault = Literal[
    "empty",
    "too_many_bytes",
    "unsupported_format",
    "damaged",
    "too_small",
    "too_large",
    "too_long",
    "over_budget",
    "animated",
    "no_alpha",
    "mask_size",
]

T = TypeVar("T")


class ImageError(ValueError):
    """An image that is refused, with a message for the client. Programs read `reason`."""

    def __init__(self, reason: ImageFault, predicate: str) -> None:
        """`predicate` is a sentence without its subject; only the caller knows the name of the field."""
        super().__init__(f"The image {predicate}")
        self.reason: ImageFault = reason
        self.predicate = predicate


def read_image(
    data: bytes,
    convert: Callable[[Image.Image, ImageKind], T],
    *,
    max_pixels: int = MAX_PIXELS,
    budget: PixelBudget | None = None,
) -> T:
    """Decode every pixel of a PNG, JPEG or WebP file, and return what `convert` makes of it.

    `convert` gets the image as it is stored, not turned upright, and the file's kind. Raises ImageError for
    other formats, damaged files, several frames, and sizes beyond the bounds; `over_budget` for more than
    `max_pixels` where these are fewer than MAX_PIXELS. `budget` is shared by the threads of a process.
    """
    kind = _recognise(data)
    _check_structure(data, kind)
    hold = budget.hold if budget else _no_budget
    try:
        with ExitStack() as stack:
            # WebP's decoder takes memory for the whole canvas on opening, so its header is read here first.
            if kind == "WEBP":
                size = webp_size(data)
                _check_size(size, max_pixels)
                stack.enter_context(hold(size[0] * size[1]))
            pixels = without_metadata(data, kind)
            image = stack.enter_context(Image.open(io.BytesIO(pixels), formats=[kind]))
            _check_size(image.size, max_pixels)
            num_pixels = image.width * image.height
            if kind == "JPEG":
                _check_structure(data, kind, num_pixels)
            if getattr(image, "n_frames", 1) != 1:
                raise ImageError("animated", "is animated. Send an image with one frame.")
            if kind != "WEBP":
                stack.enter_context(hold(num_pixels))
            image.load()
            # Raises for a palette image without a palette, which nothing could convert to RGB.
            _ = image.has_transparency_data
            return convert(with_alpha(image, pixels) if kind == "PNG" else image, kind)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels() from None
    except Exception:  # Pillow raises many types for damaged files: OSError, SyntaxError, struct.error …
        predicate = f"is damaged: it begins as {kind} but cannot be decoded. Save the image again."
        raise ImageError("damaged", predicate) from None


def require_alpha(image: Image.Image) -> None:
    """Refuse an image without transparency as a mask."""
    if not image.has_transparency_data:
        raise ImageError("no_alpha", "has no transparency. Make the part to redraw transparent.")


def _no_budget(_: int) -> AbstractContextManager[None]:
    return nullcontext()


def _recognise(data: bytes) -> ImageKind:
    if len(data) > MAX_IMAGE_BYTES:
        megabytes = MAX_IMAGE_BYTES // 1_000_000
        raise ImageError("too_many_bytes", f"has more than {megabytes} MB. Scale it down.")
    kind = image_kind(data)
    if kind is None:
        reason: ImageFault = "unsupported_format" if data else "empty"
        raise ImageError(reason, "is not a PNG, JPEG or WebP file. Convert it to one of these formats.")
    return kind


def _check_structure(data: bytes, kind: ImageKind, num_pixels: int = 0) -> None:
    if fault := structure_fault(data, kind, num_pixels):
        raise ImageError("damaged", f"{fault}. Save the image again.")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    short, long = min(size), max(size)
    if short < MIN_SIDE or long > MAX_SIDE:
        predicate = f"is {width}×{height} px. Each side must be between {MIN_SIDE} and {MAX_SIDE} px."
        raise ImageError("too_small" if short < MIN_SIDE else "too_large", predicate)
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if width * height > max_pixels:
        raise ImageError("over_budget", "has more pixels than remain for it in this request.")
    if long > short * MAX_ASPECT:
        predicate = f"is {width}×{height} px. The long side may be at most {MAX_ASPECT} times the short one."
        raise ImageError("too_long", predicate)


def _too_many_pixels() -> ImageError:
    return ImageError("too_large", f"has more than {MAX_PIXELS // 10**6} megapixels. Scale it down.")
