"""Every colour type, depth, transparency and interlace of PNG, against values computed from the samples.

The files are written here, sample by sample, as the specification says: scanlines, Adam7 passes and filters.
What the decoder should return follows from the samples alone.
"""

import random
import struct
import zlib
from collections.abc import Iterator, Sequence

import pytest

from images.decoding import read_image
from model.images import open_image, redrawn_cells
from tests.support.hostile_files import PNG_START, chunk

SIDE = 16
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CASES = [
    (colour, depth, transparent, interlaced)
    for colour, depths in DEPTHS.items()
    for depth in depths
    for transparent in ((False, True) if colour in (GREY, RGB, PALETTE) else (False,))
    for interlaced in (False, True)
]

Pixel = tuple[int, ...]
Rows = list[list[Pixel]]


def samples(colour: int, depth: int) -> Rows:
    """Random pixels, many of which differ in one sample, or in its low byte, from the first."""
    draw = random.Random(f"{colour}-{depth}")
    first = tuple(draw.randrange(1 << depth) for _ in range(CHANNELS[colour]))

    def pixel() -> Pixel:
        changed = list(first)
        if draw.random() < 0.7:
            index = draw.randrange(len(first))
            changed[index] ^= 1 << draw.randrange(depth)
        return tuple(changed)

    return [[first if x == y else pixel() for x in range(SIDE)] for y in range(SIDE)]


def packed(row: Sequence[Pixel], depth: int) -> bytes:
    bits = "".join(format(sample, f"0{depth}b") for pixel in row for sample in pixel)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def filtered(rows: Sequence[bytes], pixel_bytes: int) -> bytes:
    """Scanlines with all five filters in turn: PNG specification, section 9.2."""
    out, above = b"", bytes(len(rows[0]))
    for number, row in enumerate(rows):
        kind = number % 5
        line = bytearray()
        for index, value in enumerate(row):
            left = row[index - pixel_bytes] if index >= pixel_bytes else 0
            corner = above[index - pixel_bytes] if index >= pixel_bytes else 0
            line.append((value - _prediction(kind, left, above[index], corner)) % 256)
        out += bytes((kind,)) + bytes(line)
        above = row
    return out


def _prediction(kind: int, left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    paeth = min((left, up, corner), key=lambda value: abs(estimate - value))
    return (0, left, up, (left + up) // 2, paeth)[kind]


def passes(rows: Rows, *, interlaced: bool) -> Iterator[Rows]:
    if not interlaced:
        yield rows
        return
    for x0, y0, dx, dy in ADAM7:
        yield [row[x0::dx] for row in rows[y0::dy]]


def written(colour: int, depth: int, rows: Rows, *, interlaced: bool, extra: bytes = b"") -> bytes:
    pixel_bytes = max(CHANNELS[colour] * depth // 8, 1)
    data = b"".join(
        filtered([packed(row, depth) for row in part], pixel_bytes)
        for part in passes(rows, interlaced=interlaced)
    )
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, interlaced)
    return PNG_START + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND")


def eight_bits(sample: int, depth: int) -> int:
    return sample >> 8 if depth == 16 else sample * 255 // ((1 << depth) - 1)


def expected(colour: int, depth: int, pixel: Pixel, key: Pixel | None, palette: list[Pixel]) -> Pixel:
    """The RGBA value of a pixel in 8 bits: PNG specification, sections 11.2 and 11.3.2."""
    if colour == PALETTE:
        return palette[pixel[0]]
    alpha = 0 if pixel == key else 255
    values = tuple(eight_bits(sample, depth) for sample in pixel)
    if colour == GREY:
        return (values[0],) * 3 + (alpha,)
    if colour == GREY_ALPHA:
        return (values[0],) * 3 + (values[1],)
    return values if colour == RGBA else (*values, alpha)


@pytest.mark.parametrize(("colour", "depth", "transparent", "interlaced"), CASES)
def test_every_kind_of_png_is_read_as_the_specification_says(
    colour: int, depth: int, transparent: bool, interlaced: bool
) -> None:
    rows = samples(colour, depth)
    draw = random.Random(depth)
    palette = [(*draw.randbytes(3), draw.randrange(256) if transparent else 255) for _ in range(1 << depth)]
    key = rows[0][0] if transparent and colour != PALETTE else None
    extra = b""
    if colour == PALETTE:
        extra = chunk(b"PLTE", bytes(value for entry in palette for value in entry[:3]))
        extra += chunk(b"tRNS", bytes(entry[3] for entry in palette)) if transparent else b""
    elif key is not None:
        extra = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    data = written(colour, depth, rows, interlaced=interlaced, extra=extra)
    wanted = [[expected(colour, depth, pixel, key, palette) for pixel in row] for row in rows]
    read = open_image(data)
    for y, row in enumerate(wanted):
        for x, (red, green, blue, alpha) in enumerate(row):
            on_white = [(value * alpha + 255 * (255 - alpha)) / 255 for value in (red, green, blue)]
            found = read.getpixel((x, y))
            assert isinstance(found, tuple)
            assert max(abs(a - b) for a, b in zip(found, on_white, strict=True)) <= 1, (x, y, found, on_white)
    if transparent or colour in (GREY_ALPHA, RGBA):
        holes = [alpha == 0 for row in wanted for (*_, alpha) in row]
        assert redrawn_cells(data, (SIDE, SIDE), SIDE) == holes


@pytest.mark.parametrize(("colour", "depth"), [(GREY, 2), (RGB, 8)])
def test_only_the_bits_of_the_depth_count(colour: int, depth: int) -> None:
    rows = samples(colour, depth)
    words = [0xFF00 | sample for sample in rows[0][0]]
    extra = chunk(b"tRNS", struct.pack(f">{len(words)}H", *words))
    data = written(colour, depth, rows, interlaced=False, extra=extra)
    alpha = read_image(data, lambda image, _: image.getchannel("A"))
    assert alpha.getpixel((0, 0)) == 0


@pytest.mark.parametrize(
    ("colour", "depth", "num_bytes"),
    [
        *((GREY, 8, 0), (GREY, 8, 1), (GREY, 8, 6), (RGB, 8, 2), (RGB, 16, 5), (RGB, 8, 7), (RGBA, 8, 6)),
        *((PALETTE, 4, 0), (PALETTE, 4, 17), (PALETTE, 8, 257), (PALETTE, 8, 300)),
    ],
)
def test_transparency_of_another_length_is_ignored(colour: int, depth: int, num_bytes: int) -> None:
    rows = samples(colour, depth)
    palette = chunk(b"PLTE", random.Random(1).randbytes(3 << depth)) if colour == PALETTE else b""
    plain = written(colour, depth, rows, interlaced=False, extra=palette)
    strange = palette + chunk(b"tRNS", random.Random(2).randbytes(num_bytes))
    data = written(colour, depth, rows, interlaced=False, extra=strange)
    assert open_image(data).tobytes() == open_image(plain).tobytes()
