"""The orientation of an image file: read where it is valid, upright in all other cases."""

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.bounds import MAX_EXIF_BYTES
from images.exif import block_orientation, orientation
from images.structure import ImageKind, exif_block
from tests.support.hostile_exif import (
    LONG,
    RATIONAL,
    SHORT,
    Entry,
    jpeg_with,
    oriented,
    segment,
    tiff,
    webp_with,
)
from tests.support.hostile_files import chunk, png, turned

KINDS: tuple[ImageKind, ...] = ("PNG", "JPEG", "WEBP")
SIX = tiff([oriented(6)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", range(1, 9))
def test_what_pillow_writes_is_read(kind: ImageKind, value: int) -> None:
    assert orientation(turned(kind, value), kind) == value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_both_byte_orders_are_read(order: str, value: int) -> None:
    others: list[Entry] = [(0x010F, 2, 3, b"ab\0\0"), (0x0100, LONG, 1, bytes(4))]
    assert block_orientation(tiff([*others, oriented(value, order=order)], order=order)) == value


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_the_block_is_found_in_each_format_with_and_without_its_prefix(prefix: bytes) -> None:
    block = prefix + SIX
    assert orientation(png(48, 48, before=chunk(b"eXIf", block)), "PNG") == 6
    assert orientation(png(48, 48, behind=chunk(b"eXIf", block)), "PNG") == 6
    assert orientation(webp_with(block), "WEBP") == 6
    expected = 6 if prefix else 1
    assert (
        orientation(jpeg_with(segment(0xE1, b"http://ns.adobe.com"), segment(0xE1, block)), "JPEG")
        == expected
    )


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
        b"XX\0*" + SIX[4:],
        b"MM\0+" + SIX[4:],
        SIX[:14],
        SIX[:20],
        tiff([oriented(6)], start=0),
        tiff([oriented(6)], start=4),
        tiff([oriented(6)], start=9),
        tiff([oriented(6)], start=2**32 - 1),
        tiff([oriented(6, value_type=LONG)]),
        tiff([oriented(6, value_type=RATIONAL)]),
        tiff([oriented(6, value_type=0)]),
        tiff([oriented(6, count=0)]),
        tiff([oriented(6, count=2)]),
        tiff([oriented(6, count=2**32 - 1)]),
        *(tiff([oriented(value)]) for value in (0, 9, 255, 65_535)),
        # The second one does not make the first one good.
        tiff([oriented(6, count=2), oriented(6)]),
        # The directory begins after what is read.
        tiff([oriented(6)], start=MAX_EXIF_BYTES - 1, tail=bytes(MAX_EXIF_BYTES)),
        SIX[:8] + struct.pack(">H", 0) + SIX[10:],
    ],
)
def test_anything_else_is_upright(block: bytes) -> None:
    assert block_orientation(block) == 1
    assert orientation(png(48, 48, before=chunk(b"eXIf", block)), "PNG") == 1


def test_only_the_first_directory_counts() -> None:
    """The next one may be that of the thumbnail, or the first one again."""
    unrelated: Entry = (0x010F, SHORT, 1, bytes(4))
    block = tiff([unrelated])
    for offset in (8, len(block)):
        linked = block[:-4] + struct.pack(">I", offset) + SIX[8:]
        assert block_orientation(linked) == 1


def test_more_entries_than_there_are_and_a_tag_at_the_end() -> None:
    lying = SIX[:8] + struct.pack(">H", 65_535) + SIX[10:]
    assert block_orientation(lying) == 6
    full = tiff([(tag % 0x0100, SHORT, 1, bytes(4)) for tag in range(5000)] + [oriented(3)])
    assert len(full) < MAX_EXIF_BYTES
    assert block_orientation(full) == 3


def test_no_more_than_64_kib_of_a_block_is_read() -> None:
    late = tiff([(0x0001, SHORT, 1, bytes(4))] * 6000 + [oriented(6)])
    assert len(late) > MAX_EXIF_BYTES
    data = png(48, 48, before=chunk(b"eXIf", late))
    assert len(exif_block(data, "PNG")) == MAX_EXIF_BYTES
    assert orientation(data, "PNG") == 1


def test_a_webp_whose_header_denies_its_exif_is_upright() -> None:
    data = bytearray(webp_with(SIX))
    assert orientation(bytes(data), "WEBP") == 6
    data[20] &= 0xFF ^ 0x08
    assert orientation(bytes(data), "WEBP") == 1


@given(st.sampled_from([b"", b"II*\0", b"MM\0*", b"MM\0*\0\0\0\x08"]), st.binary(max_size=400))
@settings(max_examples=400, deadline=None)
def test_any_bytes_have_an_orientation(start: bytes, rest: bytes) -> None:
    block = start + rest
    assert block_orientation(block) in range(1, 9)
    for kind, data in (
        ("PNG", png(48, 48, before=chunk(b"eXIf", block))),
        ("JPEG", jpeg_with(segment(0xE1, block))),
    ):
        assert orientation(data, kind) in range(1, 9)


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\xff\0\0\0WEBPVP8X"]),
    st.binary(max_size=200),
)
@settings(max_examples=300, deadline=None)
def test_any_file_has_an_orientation(start: bytes, rest: bytes) -> None:
    for kind in KINDS:
        assert orientation(start + rest, kind) in range(1, 9)


def test_the_fullest_block_costs_a_millisecond_or_so() -> None:
    block = tiff([(0x0001, SHORT, 1, bytes(4))] * 5460)
    started_s = time.process_time()
    for _ in range(60):
        block_orientation(block)
    assert time.process_time() - started_s < 0.5
