"""What a file may say of its parts before it is decoded, and that the check keeps pace with any bytes."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ApiError
from app.uploads import decode_fully
from images.structure import image_kind, structure_fault, webp_size
from model.images import ImageError, open_image, to_square_pixels
from tests.support.hostile_files import noise, saved

KINDS = ("PNG", "JPEG", "WEBP")
WHOLE = {kind: saved(noise(24), kind) for kind in KINDS} | {
    "PNG palette": saved(noise(24).quantize(8)),
    "JPEG progressive": saved(noise(24), "JPEG", progressive=True),
    "JPEG four colours": saved(noise(24, "CMYK"), "JPEG"),
    "WEBP alpha": saved(noise(24, "RGBA"), "WEBP"),
}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file with some bytes changed, pieces doubled, taken out or put in, or cut short."""
    data = bytearray(WHOLE[draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data) - 1))
        end = min(start + draw(st.integers(1, 40)), len(data))
        match draw(st.sampled_from(["change", "double", "take out", "put in", "cut"])):
            case "change":
                data[start] = draw(st.integers(0, 255))
            case "double":
                data[start:start] = data[start:end]
            case "take out" if len(data) > 100:
                del data[start:end]
            case "put in":
                data[start:start] = draw(st.binary(max_size=40))
            case _ if start > 50:
                del data[start:]
    return bytes(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(damaged() | st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_what_the_api_takes_the_worker_can_read_and_both_refuse_by_their_own_errors(data: bytes) -> None:
    refusal: tuple[int, str | None] | None = None
    try:
        decode_fully(data, "image")
    except ApiError as error:
        refusal = (error.status, error.param)
    assert refusal in (None, (422, "image"))
    try:
        picture = open_image(data)
    except ImageError:
        assert refusal
        return
    assert picture.mode == "RGB"
    assert to_square_pixels(picture, 16).shape == (3, 16, 16)


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]), st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_a_signature_have_a_structure_or_a_fault(start: bytes, rest: bytes) -> None:
    kind = image_kind(start + rest)
    assert kind is not None
    fault = structure_fault(start + rest, kind)
    assert fault is None or fault.startswith("has more than")


@pytest.mark.parametrize(
    "piece",
    [b"\xff", b"\xff\xfe\0\2", b"\xff\xd0", b"\xff\0", b"\0", b"\xff\xe1\0\0", b"\0\0\0\0prVt\0\0\0\0"],
)
@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_ten_megabytes_of_anything_are_judged_at_once(start: bytes, piece: bytes) -> None:
    data = start + piece * (10_000_000 // len(piece))
    kind = image_kind(data)
    assert kind is not None
    started_s = time.process_time()
    structure_fault(data, kind)
    assert time.process_time() - started_s < 2


def test_scans_within_metadata_and_behind_the_picture_do_not_count() -> None:
    plain = WHOLE["JPEG"]
    metadata = b"\xff\xe1\x40\x02" + b"\xff\xda" * 0x2000
    assert structure_fault(plain[:2] + metadata + plain[2:] + b"\xff\xda" * 1000, "JPEG", 576) is None
    assert "scans" in str(structure_fault(plain[:-2] + b"\xff\xda\0\2" * 200 + plain[-2:], "JPEG", 576))


def test_the_larger_a_picture_the_fewer_its_scans() -> None:
    data = WHOLE["JPEG progressive"]
    assert structure_fault(data, "JPEG", 25_000_000) is None
    assert structure_fault(data, "JPEG", 100_000_000) == "has more than 5 scans"


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_the_size_of_any_webp_header_is_read_or_refused(data: bytes) -> None:
    try:
        width, height = webp_size(b"RIFF\0\0\0\0WEBP" + data)
    except ValueError:
        return
    assert 0 <= width <= 1 << 24
    assert 0 <= height <= 1 << 24
