"""Decoding within bounds: metadata cost nothing, and the API and the worker refuse the same files."""

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from app.errors import ApiError
from app.settings import Settings
from app.uploads import decode_fully
from images.bounds import MAX_IMAGE_BYTES
from images.decoding import ImageError, read_image
from images.structure import image_kind, without_metadata
from model.images import open_image
from tests.fuzz.corpus import corpus
from tests.support.hostile_exif import hostile_files, jpeg_with, oriented, plain_files, segment, tiff
from tests.support.hostile_files import ACCEPTED, Hostile, noise, saved

NUM_FILES = 60
HOSTILE = hostile_files()
PLAIN = plain_files()
SIDES: dict[str, Callable[[bytes], object]] = {
    "API": lambda data: decode_fully(data, "image"),
    "worker": open_image,
}


def seconds(read: Callable[[bytes], object], data: bytes, num_files: int = NUM_FILES) -> float:
    started_s = time.process_time()
    for _ in range(num_files):
        read(data)
    return time.process_time() - started_s


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", HOSTILE)
def test_sixty_files_with_hostile_metadata_cost_no_second_more_than_plain_ones(name: str, side: str) -> None:
    data = HOSTILE[name]
    kind = image_kind(data)
    assert kind is not None
    assert seconds(SIDES[side], data) - seconds(SIDES[side], PLAIN[kind]) < 1


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_pillow_alone_would_pay_for_them() -> None:
    """The files are what they claim to be: else the test above could not fail."""

    def by_pillow(data: bytes) -> None:
        with Image.open(io.BytesIO(data)) as image:
            image.getexif().get(0x0112)

    costly = [name for name, data in HOSTILE.items() if seconds(by_pillow, data, NUM_FILES // 10) > 0.1]
    assert len(costly) >= 5, costly


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("case", [case for case in corpus() if not case.heavy], ids=lambda case: case.name)
def test_the_api_and_the_worker_refuse_the_same_files(case: Hostile) -> None:
    code: str | None = ACCEPTED
    try:
        decode_fully(case.data, "image")
    except ApiError as error:
        code = error.code
    assert code == case.code
    try:
        open_image(case.data)
    except ImageError:
        assert code is not ACCEPTED
    else:
        assert code is ACCEPTED


def test_the_api_cannot_be_set_to_accept_larger_files_than_the_worker() -> None:
    with pytest.raises(ValidationError, match="max_picture_bytes"):
        Settings(_env_file=None, max_picture_bytes=MAX_IMAGE_BYTES + 1)  # type: ignore[call-arg]


PICTURES = {
    "JPEG": saved(noise(), "JPEG"),
    "JPEG grey": saved(noise(mode="L"), "JPEG"),
    "JPEG CMYK": saved(noise(mode="CMYK"), "JPEG"),
    "JPEG progressive": saved(noise(), "JPEG", progressive=True),
    "JPEG RGB": saved(noise(), "JPEG", keep_rgb=True, subsampling=0),
    "JPEG without JFIF": jpeg_with(),
    "JPEG with everything": saved(
        noise(), "JPEG", exif=b"Exif\0\0" + tiff([oriented(6)]), icc_profile=bytes(100_000), xmp=b"x"
    ),
    "PNG": saved(noise()),
    "PNG palette": saved(noise().quantize(16), transparency=3),
    "PNG grey and alpha": saved(noise().convert("LA")),
    "PNG one colour transparent": saved(Image.new("RGB", (48, 48), (1, 2, 3)), transparency=(1, 2, 3)),
    "PNG 16 bits": saved(Image.fromarray(np.arange(2304, dtype=np.uint16).reshape(48, 48) * 28)),
    "WEBP": saved(noise(), "WEBP"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_and_transparency_stay_the_same_without_metadata(name: str) -> None:
    data = PICTURES[name]
    kind = image_kind(data)
    assert kind is not None
    bare = without_metadata(data, kind)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(bare)) as after:
        assert (after.mode, after.size) == (before.mode, before.size)
        assert after.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()
        assert not set(after.info) & {"exif", "icc_profile", "xmp", "comment", "mp"}
    assert without_metadata(bare, kind) == bare


def test_an_image_within_metadata_is_not_the_image() -> None:
    """A segment may hold a whole file, as thumbnails do."""
    inner = saved(Image.new("RGB", (16, 16), "red"), "JPEG")
    assert read_image(jpeg_with(segment(0xE1, b"Exif\0\0" + inner)), lambda image, _: image.size) == (48, 48)


def test_an_end_before_the_first_scan_ends_the_file() -> None:
    plain = jpeg_with()
    with pytest.raises(ImageError) as caught:
        read_image(plain[:2] + b"\xff\xd9" + plain[2:], lambda image, _: image.size)
    assert caught.value.reason == "damaged"
