"""Makes the files of the corpus: with Pillow, or by hand where no program writes such a file."""

import io
import random
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from PIL import Image

ACCEPTED = None
SIZE = "picture_size"
DAMAGED = "invalid_picture"
FORMAT = "unsupported_picture_format"
ANIMATED = "picture_animated"

PNG_START = b"\x89PNG\r\n\x1a\n"
MAX_PICTURE_BYTES = 10_000_000


@dataclass(frozen=True)
class Hostile:
    """A file, and the error code that must refuse it; None for a valid image."""

    name: str
    data: bytes
    code: str | None
    heavy: bool = False
    """Whether the file is expensive for the server, so that one route is enough."""


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def noise(side: int = 48, mode: str = "RGB") -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (side, side), random.Random(7).randbytes(side * side * channels))


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    rows: bytes | None = None,
    *,
    depth: int = 8,
    colour: int = 2,
    before: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """Write a PNG by hand; `before` and `behind` are complete chunks around its data."""
    if rows is None:
        bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        rows = (b"\0" + bytes((width * bits + 7) // 8)) * height
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return PNG_START + header + before + chunk(b"IDAT", zlib.compress(rows, 9)) + behind + chunk(b"IEND")


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(noise().crop((0, 0, 48, 32)), kind, exif=exif)
