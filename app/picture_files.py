"""What the bytes of a picture file say before anything is decoded: its kind, its size, its number of parts.

Everything here takes time in proportion to what it allows, not to what the file claims.
"""

import re

MAX_PNG_CHUNKS = 10_000
"""A PNG of 10 MB in the usual chunks of 8 KiB has 1,250. Each costs the decoder some Python code."""

MAX_JPEG_SEGMENTS = 1000
"""A JPEG of 10 MB has 160 full segments. Pieces of EXIF are joined one by one, so many small ones cost their
number times their length. Bytes between segments count like segments: they are skipped one by one.
"""

MAX_JPEG_SCANS = 100
MAX_SCANNED_PIXELS = 500_000_000
"""A progressive JPEG has about ten scans, each of which passes over the whole picture: a hundred of them over
25 megapixels are 15 s of decoding for 150 kB.
"""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Neither an escaped byte of a scan, nor a restart within one, nor padding."""
_WITH_LENGTH = frozenset({*range(0xC0, 0xC8), *range(0xC9, 0xD0), *range(0xDA, 0xF0), 0xFE})


def picture_kind(data: bytes) -> str | None:
    """PNG, JPEG or WEBP by the first bytes; None for anything else."""
    if data.startswith(_PNG_START):
        return "PNG"
    if data.startswith(_JPEG_START):
        return "JPEG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def fault_of_structure(data: bytes, kind: str, num_pixels: int = 0) -> str | None:
    """What is too much about the file's parts, as the end of a sentence; None when nothing is.

    `num_pixels`: of the picture, once they are known.
    """
    if kind == "PNG" and _count_png_chunks(data) > MAX_PNG_CHUNKS:
        return f"has more than {MAX_PNG_CHUNKS} chunks"
    if kind != "JPEG":
        return None
    num_segments, num_scans = _count_jpeg_parts(data)
    max_scans = min(MAX_JPEG_SCANS, MAX_SCANNED_PIXELS // max(num_pixels, 1))
    if num_scans > max_scans:
        return f"has more than {max_scans} scans"
    if num_segments > MAX_JPEG_SEGMENTS:
        return f"has more than {MAX_JPEG_SEGMENTS} segments"
    return None


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header of a WebP file. Raises ValueError for a header that is none."""
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
    raise ValueError("no picture in the file")


def _count_png_chunks(data: bytes) -> int:
    """Chunks up to IEND, as far as the limit."""
    place, num_chunks = len(_PNG_START), 0
    while place + 8 <= len(data) and num_chunks <= MAX_PNG_CHUNKS:
        num_chunks += 1
        if data[place + 4 : place + 8] == b"IEND":
            break
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return num_chunks


def _count_jpeg_parts(data: bytes) -> tuple[int, int]:
    """(segments, scans) up to the end of the first picture, as far as the limits. Bytes between segments
    count as segments before the first scan; behind it they are the scan.
    """
    place, num_segments, num_scans = 2, 0, 0
    while place < len(data) and num_segments <= MAX_JPEG_SEGMENTS and num_scans <= MAX_JPEG_SCANS:
        marker = _MARKER.search(data, place)
        end = marker.start() if marker else len(data)
        num_segments += 1 if num_scans else 1 + end - place
        if marker is None:
            break
        code = data[end + 1]
        if code == _END_OF_IMAGE and num_scans:
            break
        num_scans += code == _START_OF_SCAN
        length = int.from_bytes(data[end + 2 : end + 4], "big") if code in _WITH_LENGTH else 0
        place = end + 2 + (max(length, 2) if code in _WITH_LENGTH else 0)
    return num_segments, num_scans
