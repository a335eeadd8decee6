"""Random images from a seed: EXIF blocks in every container, and PNGs of every kind with a tRNS chunk."""

import struct
from random import Random

from tests.support.hostile_exif import ORIENTATION, Entry, exif_segment, jpeg_with, oriented, tiff, webp_with
from tests.support.hostile_files import chunk, png

KINDS = (
    (0, 1),
    (0, 2),
    (0, 4),
    (0, 8),
    (0, 16),
    (2, 8),
    (2, 16),
    (3, 1),
    (3, 2),
    (3, 4),
    (3, 8),
    (4, 8),
    (4, 16),
    (6, 8),
    (6, 16),
)
"""Colour types and depths of PNG."""
TRANSPARENT_BYTES = (0, 1, 2, 3, 6, 7, 16, 256, 300)
WORDS = (0, 1, 2, 255, 256, 0x1234, 0xFF00, 0xFFFF)
OFFSETS = (0, 1, 8, 26, 64_000, 2**31, 2**32 - 1)
MAX_TAIL_BYTES = 2000


def image(random: Random) -> bytes:
    """Return a file that is valid, or damaged in its metadata only, or cut, or changed anywhere."""
    block = _exif_block(random)
    data = random.choice(
        (
            lambda: jpeg_with(exif_segment(block)),
            lambda: jpeg_with(exif_segment(block), exif_segment(_exif_block(random))),
            lambda: webp_with(block),
            lambda: _png(random, chunk(b"eXIf", block)),
            lambda: _png(random, b""),
        )
    )()
    damage = random.random()
    if damage < 0.1:
        return data[: random.randrange(len(data))]
    if damage < 0.2:
        place = random.randrange(len(data))
        return data[:place] + random.randbytes(1) + data[place + 1 :]
    return data


def _png(random: Random, exif: bytes) -> bytes:
    colour, depth = random.choice(KINDS)
    palette = chunk(b"PLTE", random.randbytes(3 * (1 << depth))) if colour == 3 else b""
    parts = [palette, *(_transparency(random) for _ in range(random.choice((0, 1, 1, 1, 2)))), exif]
    if random.random() < 0.1:
        random.shuffle(parts)
    before, behind = b"".join(parts), b""
    if random.random() < 0.1:
        before, behind = palette, b"".join(parts[1:])
    return png(32, 32, depth=depth, colour=colour, before=before, behind=behind)


def _transparency(random: Random) -> bytes:
    if random.random() < 0.5:
        return chunk(b"tRNS", random.randbytes(random.choice(TRANSPARENT_BYTES)))
    samples = [random.choice(WORDS) for _ in range(random.choice((1, 3)))]
    return chunk(b"tRNS", struct.pack(f">{len(samples)}H", *samples))


def _exif_block(random: Random) -> bytes:
    order = random.choice("<>")
    entries = [_entry(random, order) for _ in range(random.choice((0, 1, 1, 2, 50)))]
    if random.random() < 0.6:
        entries.append(oriented(random.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65_535)), order=order))
        random.shuffle(entries)
    start = 8 if random.random() < 0.8 else random.choice(OFFSETS)
    block = tiff(entries, order=order, start=start, tail=random.randbytes(random.randrange(MAX_TAIL_BYTES)))
    return block[: random.randrange(len(block) + 1)] if random.random() < 0.2 else block


def _entry(random: Random, order: str) -> Entry:
    tag = random.choice((ORIENTATION, 0x0100, 0x011A, 0x8769, 0xA005, 0xB002, random.randrange(65_536)))
    count = random.choice((0, 1, 2, 1000, 2**31, 2**32 - 1))
    return (
        tag,
        random.choice((*range(13), 255, 65_535)),
        count,
        struct.pack(f"{order}I", random.choice(OFFSETS)),
    )
