"""Reads the structure of an image file before it is decoded: kind, size, parts.

The time of every function is bounded by its limits, not by the numbers in the file.
"""

import re
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from images.bounds import (
    MAX_CHUNKS,
    MAX_EXIF_BYTES,
    MAX_JPEG_SCANS,
    MAX_JPEG_SEGMENTS,
    MAX_SCANNED_PIXELS,
)

ImageKind = Literal["PNG", "JPEG", "WEBP"]
"""Pillow's names of the formats."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that is not an escaped byte of a scan, a restart marker or padding."""
_WITH_LENGTH = frozenset({*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(0xDA, 0xF0), 0xFE})
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_COLOUR_PREFIXES = {_APP0: b"JFIF", _APP14: b"Adobe"}
"""Application segments that define the colour space. All others are metadata."""
EXIF_PREFIX = b"Exif\0\0"
"""Prefix of the block in a JPEG. Some programs write it in the other formats too."""
_PNG_HEADER_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"acTL"})
"""Chunks that a file may have once, before its pixels: PNG specification, 5.6."""
_PNG_PIXEL_CHUNKS = frozenset({b"IDAT", b"IEND", b"fcTL", b"fdAT"})
_SAMPLES_OF_COLOUR_TYPE = {0: 1, 2: 3}
"""Samples of a transparent colour, by colour type: grey and RGB."""
_PALETTE = 3
"""Colour type of an image with a palette."""
_WEBP_EXIF_FLAG = 0x08


def image_kind(data: bytes) -> ImageKind | None:
    """Return PNG, JPEG or WEBP by the first bytes, or None."""
    if data.startswith(_PNG_START):
        return "PNG"
    if data.startswith(_JPEG_START):
        return "JPEG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def structure_fault(data: bytes, kind: ImageKind, num_pixels: int = 0) -> str | None:
    """Return the limit that the file's parts exceed, as the end of a sentence, or None.

    `num_pixels`: pixels of the image, if they are known.
    """
    if kind != "JPEG":
        chunks = _png_chunks(data) if kind == "PNG" else _webp_chunks(data)
        num_chunks = sum(1 for _ in islice(chunks, MAX_CHUNKS + 1))
        return f"has more than {MAX_CHUNKS} chunks" if num_chunks > MAX_CHUNKS else None
    num_segments, num_scans = _count_jpeg_parts(data)
    max_scans = min(MAX_JPEG_SCANS, MAX_SCANNED_PIXELS // max(num_pixels, 1))
    if num_scans > max_scans:
        return f"has more than {max_scans} scans"
    if num_segments > MAX_JPEG_SEGMENTS:
        return f"has more than {MAX_JPEG_SEGMENTS} segments"
    return None


def without_metadata(data: bytes, kind: ImageKind) -> bytes:
    """Return the file without text, profiles, EXIF, XMP and the index of further images. Its pixels stay.

    Pillow parses many of these when it opens a file, and the file determines the cost: the resolution in
    EXIF, the index of a multi-image JPEG, compressed text. The structure of the file must have been checked.
    A WebP is returned unchanged, because its metadata are copied and not parsed.
    """
    if kind == "PNG":
        return b"".join([_PNG_START, *_png_pixels(data)])
    if kind == "WEBP":
        return data
    pieces = [data[:2]]
    for code, start, end in _jpeg_header(data):
        if code == _START_OF_SCAN:
            pieces.append(data[start:])
        elif code == _END_OF_IMAGE or _is_pixel_segment(code, data[start + 4 : start + 9]):
            pieces.append(data[start:end])
    return b"".join(pieces)


def exif_block(data: bytes, kind: ImageKind) -> bytes:
    """Return at most 64 KiB of the first EXIF block of a file whose structure was checked.

    Empty if there is none.
    """
    start, end = _find_exif(data, kind)
    start += len(EXIF_PREFIX) if data.startswith(EXIF_PREFIX, start, end) else 0
    return data[start : min(end, start + MAX_EXIF_BYTES)]


def _find_exif(data: bytes, kind: ImageKind) -> tuple[int, int]:
    if kind == "JPEG":
        for code, start, end in _jpeg_header(data):
            if code == _APP1 and data.startswith(EXIF_PREFIX, start + 4, end):
                return start + 4, end
    elif kind == "PNG":
        for name, start, end in _png_chunks(data):
            if name == b"eXIf":
                return start + 8, end - 4
    elif data[12:16] == b"VP8X" and len(data) > 20 and data[20] & _WEBP_EXIF_FLAG:
        for name, start, end in _webp_chunks(data):
            if name == b"EXIF":
                return start + 8, end
    return 0, 0


def png_transparent_colour(data: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Return the depth of a PNG and the samples of its transparent colour: one for grey, three for RGB.

    None without one. A palette has an alpha for each entry instead, and other colour types have a channel.
    """
    depth, num_samples = 0, 0
    for name, start, end in _png_chunks(data):
        if name == b"IDAT":
            break
        content = data[start + 8 : end - 4]
        if name == b"IHDR" and len(content) >= 13:
            depth, num_samples = content[8], _SAMPLES_OF_COLOUR_TYPE.get(content[9], 0)
        elif name == b"tRNS" and num_samples and len(content) >= 2 * num_samples:
            # Only the bits of the depth count.
            words = struct.unpack_from(f">{num_samples}H", content)
            return depth, tuple(word & ((1 << depth) - 1) for word in words)
    return None


def webp_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) from the header of a WebP file. Raises ValueError for an invalid header."""
    chunk, head = data[12:16], data[20:30]
    if len(head) < 10:
        raise ValueError("the header is cut off")
    if chunk == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    raise ValueError("no image in the file")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end) of each chunk up to IEND, with length and checksum; the last may be cut."""
    start = len(_PNG_START)
    while start + 8 <= len(data):
        name = data[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield name, start, end
        if name == b"IEND":
            break
        start = end


def _png_pixels(data: bytes) -> Iterator[bytes]:
    """Yield the chunks that determine the pixels.

    Header chunks that are repeated or follow the first pixels are left out: Pillow would apply them to an
    image that is already decoded. So is a tRNS chunk of another length than the colour type needs, as in
    libpng. Pillow reads some of them, and fails at others only when it converts the image.
    """
    header = set(_PNG_HEADER_CHUNKS)
    colour_type, num_colours = -1, 0
    for name, start, end in _png_chunks(data):
        if name == b"IDAT":
            header.clear()
        elif name == b"IHDR" and b"IHDR" in header:
            colour_type = data[start + 17] if end - start >= 25 else -1
        elif name == b"PLTE" and b"PLTE" in header:
            num_colours = (end - start - 12) // 3
        elif name == b"tRNS" and not _fits(end - start - 12, colour_type, num_colours):
            continue
        if name in header or name in _PNG_PIXEL_CHUNKS:
            header.discard(name)
            yield data[start:end]


def _fits(num_bytes: int, colour_type: int, num_colours: int) -> bool:
    """Return whether a tRNS chunk has the length that its image needs: PNG specification, 11.3.2.1."""
    if colour_type == _PALETTE:
        return 0 < num_bytes <= num_colours
    return num_bytes == 2 * _SAMPLES_OF_COLOUR_TYPE.get(colour_type, -1)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end) of each chunk, with header and without padding; the last may be cut off."""
    start, last = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while start + 8 <= last:
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], start, end
        start = end + end % 2


def _jpeg_header(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (code, start, end) of each segment up to and including the first scan or the end of the image."""
    position = 2
    while (marker := _MARKER.search(data, position)) is not None:
        start = marker.start()
        code = data[start + 1]
        position = start + 2
        if code in _WITH_LENGTH:
            position += max(int.from_bytes(data[position : position + 2], "big"), 2)
        yield code, start, position
        if code in (_START_OF_SCAN, _END_OF_IMAGE):
            break


def _is_pixel_segment(code: int, content: bytes) -> bool:
    """Return whether a JPEG segment is needed for decoding, by its code and the start of its content."""
    if prefix := _COLOUR_PREFIXES.get(code):
        return content.startswith(prefix)
    return code in _WITH_LENGTH and code < _APP0


def _count_jpeg_parts(data: bytes) -> tuple[int, int]:
    """Count (segments, scans) up to the end of the first image, or until a limit is exceeded.

    Bytes between segments count as segments before the first scan; after it they belong to the scan.
    """
    position, num_segments, num_scans = 2, 0, 0
    while position < len(data) and num_segments <= MAX_JPEG_SEGMENTS and num_scans <= MAX_JPEG_SCANS:
        marker = _MARKER.search(data, position)
        end = marker.start() if marker else len(data)
        num_segments += 1 if num_scans else 1 + end - position
        if marker is None:
            break
        code = data[end + 1]
        if code == _END_OF_IMAGE and num_scans:
            break
        num_scans += code == _START_OF_SCAN
        length = int.from_bytes(data[end + 2 : end + 4], "big") if code in _WITH_LENGTH else 0
        position = end + 2 + (max(length, 2) if code in _WITH_LENGTH else 0)
    return num_segments, num_scans
