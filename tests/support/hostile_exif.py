"""Image files whose metadata cost much more to read than they weigh, by Pillow's own readers."""

import struct
import zlib
from collections.abc import Sequence

from tests.support.hostile_files import chunk, noise, png, saved

SHORT, LONG, RATIONAL = 3, 4, 5
ORIENTATION, X_RESOLUTION, UNIT = 0x0112, 0x011A, 0x0128
NUM_VALUES = 64_000

Entry = tuple[int, int, int, bytes]
"""tag, type, count, and the four bytes that are the value or its offset."""


def tiff(entries: Sequence[Entry], *, order: str = ">", start: int = 8, tail: bytes = b"") -> bytes:
    """A TIFF block with one directory. `start` is the offset that its header states."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", start)
    directory = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    return head + struct.pack(f"{order}H", len(entries)) + directory + bytes(4) + tail


def oriented(value: int, *, order: str = ">", value_type: int = SHORT, count: int = 1) -> Entry:
    return ORIENTATION, value_type, count, struct.pack(f"{order}HH", value, 0)


def fractions(tag: int, num_values: int, offset: int) -> Entry:
    return tag, RATIONAL, num_values, struct.pack(">I", offset)


def segment(code: int, content: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(content) + 2) + content


def exif_segment(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def jpeg_with(*segments: bytes) -> bytes:
    # Without JFIF, whose resolution would keep Pillow from reading that of EXIF.
    plain = saved(noise(), "JPEG")
    return plain[:2] + b"".join(segments) + plain[20:]


def webp_with(exif: bytes) -> bytes:
    return saved(noise(), "WEBP", exif=exif)


def hostile_files() -> dict[str, bytes]:
    """Valid images by what their metadata do."""
    values = bytes(8 * NUM_VALUES)
    many = tiff([fractions(ORIENTATION, NUM_VALUES, 26)], tail=values)
    small = tiff([fractions(ORIENTATION, 8000, 26)], tail=bytes(64_000))
    raw = f"\nexif\n{len(many) + 6:8d}\n".encode() + (b"Exif\0\0" + many).hex().encode()
    # Each of 5,000 entries claims the same 500 fractions.
    index = tiff([fractions(tag, 500, 8) for tag in range(0xB002, 0xB002 + 5000)])
    resolution = [fractions(X_RESOLUTION, 8000, 26), (UNIT, SHORT, 1, b"\0\2\0\0")]
    overlapping = tiff([(tag, 1, 60_000, struct.pack(">I", 8)) for tag in range(5000)])
    megabyte = b"a\0\0" + zlib.compress(bytes(1_000_000), 9)
    raw_profile = b"Raw profile type exif\0\0" + zlib.compress(raw, 9)
    return {
        "fractions in compressed text": png(48, 48, before=chunk(b"zTXt", raw_profile)),
        "fractions in a chunk": png(48, 48, before=chunk(b"eXIf", many)),
        "fractions in a chunk after the data": png(48, 48, behind=chunk(b"eXIf", many)),
        "fractions in a segment": jpeg_with(exif_segment(small)),
        "fractions as the resolution": jpeg_with(exif_segment(tiff(resolution, tail=bytes(64_000)))),
        "one value under 5,000 tags": jpeg_with(exif_segment(overlapping)),
        "an index of further images": jpeg_with(segment(0xE2, b"MPF\0" + index)),
        "fractions in a WebP": webp_with(many),
        "compressed text": png(48, 48, before=chunk(b"zTXt", megabyte) * 60),
        "a compressed profile": png(48, 48, before=chunk(b"iCCP", megabyte) * 60),
    }


def plain_files() -> dict[str, bytes]:
    """The same images without metadata, by format."""
    return {"PNG": png(48, 48), "JPEG": jpeg_with(), "WEBP": saved(noise(), "WEBP")}
