"""Turns the transparent colour of a PNG into an alpha channel.

Pillow compares the colour of the tRNS chunk with pixels that it has already scaled to 8 bits. That is wrong
for grey of 2, 4 and 16 bits, and for RGB of 16 bits.
"""

import io

from PIL import Image, ImageChops

from images.structure import png_transparent_colour

_LOW_BYTES = "RGB;16L"
"""Pillow's unpacker for the other byte order: of the big-endian samples of a PNG it takes the low byte."""


def with_alpha(image: Image.Image, data: bytes) -> Image.Image:
    """Return a decoded PNG with an alpha channel where its file has a transparent colour, else the image.

    data: the file. PNG specification, section 11.3.2.1: a sample has the depth of the image, and pixels of
    exactly this colour are transparent.
    """
    found = png_transparent_colour(data)
    if found is None:
        return image
    depth, samples = found
    if depth == 16:
        planes = _planes_of_16_bits(image, data)
        keys = [byte for sample in samples for byte in (sample >> 8, sample & 0xFF)]
    else:
        planes = image.convert("L").split() if len(samples) == 1 else image.split()
        keys = [sample * 255 // ((1 << depth) - 1) for sample in samples]
    matches = [_where(plane, key) for plane, key in zip(planes, keys, strict=True)]
    transparent = matches[0]
    for match in matches[1:]:
        transparent = ImageChops.darker(transparent, match)
    colours = planes[::2] if depth == 16 else planes
    return Image.merge("RGBA" if len(samples) == 3 else "LA", (*colours, ImageChops.invert(transparent)))


def _planes_of_16_bits(image: Image.Image, data: bytes) -> tuple[Image.Image, ...]:
    """Return high and low byte of each sample, as images of 8 bits: (high, low, high, low …)."""
    if image.mode != "RGB":
        words = image.tobytes()  # I;16 has little-endian words
        return Image.frombytes("L", image.size, words[1::2]), Image.frombytes("L", image.size, words[::2])
    with Image.open(io.BytesIO(data), formats=["PNG"]) as low:
        low.tile = [tile._replace(args=_LOW_BYTES) for tile in low.tile]
        low.load()
        pairs = zip(image.split(), low.split(), strict=True)
        return tuple(plane for pair in pairs for plane in pair)


def _where(plane: Image.Image, key: int) -> Image.Image:
    """Return 255 where a plane of 8 bits has the value, else 0."""
    return plane.point([255 if value == key else 0 for value in range(256)])
