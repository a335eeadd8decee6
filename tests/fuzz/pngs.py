"""The PNG files of the corpus: sizes that lie, contents that surprise, metadata that weigh."""

import random
import struct
import zlib

from tests.support.hostile_files import (
    ACCEPTED,
    DAMAGED,
    PNG_START,
    SIZE,
    Hostile,
    chunk,
    noise,
    patched,
    png,
    saved,
    turned,
)

BOMB_BYTES = 30_000_000


def pngs() -> list[Hostile]:
    return [*_png_sizes(), *_png_contents(), *_png_metadata()]


def _png_sizes() -> list[Hostile]:
    cases = [
        ("png-claims-60000x60000", 60_000, 60_000, SIZE),
        ("png-claims-2147483647x2147483647", 2**31 - 1, 2**31 - 1, SIZE),
        ("png-claims-4294967295x16", 2**32 - 1, 16, SIZE),
        ("png-zero-wide", 0, 32, DAMAGED),
        ("png-zero-high", 32, 0, DAMAGED),
        ("png-zero-by-zero", 0, 0, DAMAGED),
    ]
    claimed = [Hostile(name, png(w, h, bytes(64)), code) for name, w, h, code in cases]
    real = [
        Hostile("png-1x60000", png(1, 60_000, colour=0), SIZE),
        Hostile("png-60000x1", png(60_000, 1, colour=0), SIZE),
        Hostile("png-15x15", png(15, 15), SIZE),
        Hostile("png-17-times-as-long", png(16 * 17, 16), SIZE),
        Hostile("png-just-above-25-megapixels", png(5001, 5000, colour=0), SIZE),
        Hostile("png-16x256", png(16, 256), ACCEPTED),
        Hostile("png-25-megapixels-in-few-bytes", png(8192, 3051, colour=6), ACCEPTED, heavy=True),
    ]
    return claimed + real


def _png_contents() -> list[Hostile]:
    transparent = noise().quantize(16)
    deep = png(32, 32, (b"\0" + random.Random(1).randbytes(32 * 8)) * 32, depth=16, colour=6)
    whole = saved(noise())
    return [
        Hostile("png-palette-with-transparency", saved(transparent, transparency=3), ACCEPTED),
        Hostile("png-palette-transparency-list", saved(transparent, transparency=bytes(range(16))), ACCEPTED),
        Hostile("png-palette-missing", png(32, 32, colour=3), DAMAGED),
        Hostile("png-16-bit-grey", png(32, 32, depth=16, colour=0), ACCEPTED),
        Hostile("png-16-bit-rgba", deep, ACCEPTED),
        Hostile("png-one-bit", png(32, 32, depth=1, colour=0), ACCEPTED),
        Hostile("png-second-header-after-its-pixels", png(32, 32, behind=_other_header()), ACCEPTED),
        Hostile("png-second-header-before-its-pixels", png(32, 32, before=_other_header()), ACCEPTED),
        Hostile("png-grey-alpha", saved(noise().convert("LA")), ACCEPTED),
        Hostile("png-unknown-colour-type", patched(whole, 25, b"\x07"), DAMAGED),
        Hostile("png-wrong-checksum", patched(whole, 29, b"\0\0\0\0"), DAMAGED),
        Hostile("png-unknown-filter", png(32, 32, b"\x09" * (97 * 32)), DAMAGED),
        Hostile("png-rows-missing", png(200, 200, bytes(50)), DAMAGED),
        Hostile("png-inflates-to-30-megabytes", png(32, 32, bytes(BOMB_BYTES)), ACCEPTED),
        Hostile("png-without-data", PNG_START + whole[8:33] + chunk(b"IEND"), DAMAGED),
        Hostile("png-two-headers", whole[:33] + whole[8:], ACCEPTED),
    ]


def _other_header() -> bytes:
    """Return the header chunks of a palette image with transparency."""
    header = struct.pack(">IIBBBBB", 48, 48, 8, 3, 0, 0, 0)
    return chunk(b"IHDR", header) + chunk(b"PLTE", bytes(48)) + chunk(b"tRNS", bytes(16))


def _png_metadata() -> list[Hostile]:
    bomb = zlib.compress(bytes(BOMB_BYTES), 9)
    noise_bytes = random.Random(3).randbytes(8_000_000)
    many = 700_000
    return [
        Hostile("png-text-bomb", png(32, 32, before=chunk(b"zTXt", b"a\0\0" + bomb)), ACCEPTED),
        Hostile(
            "png-international-text-bomb", png(32, 32, before=chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)), ACCEPTED
        ),
        Hostile("png-profile-bomb", png(32, 32, before=chunk(b"iCCP", b"a\0\0" + bomb)), ACCEPTED),
        Hostile(
            "png-profile-is-noise",
            png(32, 32, before=chunk(b"iCCP", b"a\0\0" + noise_bytes[:9999])),
            ACCEPTED,
        ),
        Hostile(
            "png-8-megabytes-of-text", png(32, 32, before=chunk(b"tEXt", b"a\0" + noise_bytes)), ACCEPTED
        ),
        Hostile("png-8-megabytes-of-exif", png(32, 32, behind=chunk(b"eXIf", noise_bytes)), ACCEPTED),
        Hostile("png-8-megabytes-unknown", png(32, 32, before=chunk(b"prVt", noise_bytes)), ACCEPTED),
        Hostile("png-700000-empty-chunks", png(32, 32, before=chunk(b"prVt") * many), DAMAGED),
        Hostile("png-700000-empty-data-chunks", png(32, 32, behind=chunk(b"IDAT") * many), DAMAGED),
        Hostile("png-chunk-longer-than-file", _lying_chunk(), DAMAGED),
        Hostile(
            "png-script-in-text",
            png(32, 32, before=chunk(b"tEXt", b"a\0<script>alert(1)</script>")),
            ACCEPTED,
        ),
        *[
            Hostile(f"png-turned-{turn}", turned("PNG", turn), ACCEPTED)
            for turn in (0, 1, 5, 6, 8, 9, 65_535)
        ],
    ]


def _lying_chunk() -> bytes:
    return PNG_START + saved(noise())[8:33] + struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(50)
