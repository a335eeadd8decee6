"""Pictures as an attacker, a broken camera or a careless program would send them, each with what is due to
it.

Everything is made here, from nothing, so that the corpus holds no one's files and can be read. It serves the
tests of the running server, and as seeds of the coverage-guided fuzzer.
"""

import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable

from PIL import Image

from tests.fuzz.pngs import pngs
from tests.support.hostile_files import (
    ACCEPTED,
    ANIMATED,
    DAMAGED,
    FORMAT,
    MAX_PICTURE_BYTES,
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


def corpus() -> list[Hostile]:
    """All of them, in a fixed order; the same bytes on every call."""
    return [
        *pngs(),
        *_jpegs(),
        *_webps(),
        *_animations(),
        *_truncated(),
        *_polyglots(),
        *_other_bytes(),
    ]


def _jpegs() -> list[Hostile]:
    plain = saved(noise(), "JPEG")
    progressive = saved(noise(), "JPEG", progressive=True)
    scan = progressive[progressive.index(b"\xff\xda") :][:20]
    comments = (b"\xff\xfe\x00\x02") * 2_400_000
    profile = random.Random(5).randbytes(5_000_000)
    frame = plain.index(b"\xff\xc0")
    exif = b"Exif\0\0" + random.Random(6).randbytes(60_000)
    many_exif = _segment(0xE1, exif) * 100
    return [
        Hostile("jpeg-cmyk", saved(noise(mode="CMYK"), "JPEG"), ACCEPTED),
        Hostile("jpeg-grey", saved(noise(mode="L"), "JPEG"), ACCEPTED),
        Hostile("jpeg-progressive", progressive, ACCEPTED),
        Hostile("jpeg-claims-65535x65535", patched(plain, frame + 5, b"\xff\xff\xff\xff"), SIZE),
        Hostile("jpeg-claims-1x60000", patched(plain, frame + 5, struct.pack(">HH", 60_000, 1)), SIZE),
        Hostile("jpeg-zero-high", patched(plain, frame + 5, b"\0\0"), DAMAGED),
        Hostile("jpeg-zero-wide", patched(plain, frame + 7, b"\0\0"), DAMAGED),
        Hostile("jpeg-no-components", patched(plain, frame + 9, b"\0"), DAMAGED),
        Hostile("jpeg-2000-scans", progressive.replace(scan, scan * 2000, 1), DAMAGED),
        Hostile(
            "jpeg-30000-pieces-of-exif",
            plain[:2] + _segment(0xE1, b"Exif\0\0" + bytes(90)) * 30_000 + plain[2:],
            DAMAGED,
        ),
        Hostile(
            "jpeg-9000000-bytes-of-junk", plain[:2] + b"\xff\xfe\0\2" + bytes(9_000_000) + plain[2:], DAMAGED
        ),
        Hostile("jpeg-98-scans-of-25-megapixels", _many_large_scans(), DAMAGED),
        Hostile("jpeg-2400000-empty-comments", plain[:2] + comments + plain[2:], DAMAGED),
        Hostile("jpeg-segment-longer-than-file", plain[:2] + b"\xff\xe1\xff\xff" + plain[2:200], DAMAGED),
        Hostile("jpeg-5-megabytes-of-profile", saved(noise(), "JPEG", icc_profile=profile), ACCEPTED),
        Hostile("jpeg-6-megabytes-of-exif", plain[:2] + many_exif + plain[2:], ACCEPTED),
        Hostile("jpeg-broken-exif", saved(noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), ACCEPTED),
        Hostile("jpeg-with-depth-map", _phone_picture(), ACCEPTED),
        *[Hostile(f"jpeg-turned-{turn}", turned("JPEG", turn), ACCEPTED) for turn in range(1, 9)],
    ]


def _webps() -> list[Hostile]:
    lossy, lossless = saved(noise(), "WEBP"), saved(noise(), "WEBP", lossless=True)
    alpha = saved(noise(mode="RGBA"), "WEBP")
    assert (lossy[12:16], lossless[12:16], alpha[12:16]) == (b"VP8 ", b"VP8L", b"VP8X")
    huge = (16_382 | 16_382 << 14).to_bytes(4, "little")
    return [
        Hostile("webp-lossy", lossy, ACCEPTED),
        Hostile("webp-lossless", lossless, ACCEPTED),
        Hostile("webp-with-alpha", alpha, ACCEPTED),
        Hostile("webp-lossy-claims-16383", patched(lossy, 26, struct.pack("<HH", 16_383, 16_383)), SIZE),
        Hostile("webp-lossless-claims-16383", patched(lossless, 21, huge), SIZE),
        Hostile("webp-canvas-claims-16777216", patched(alpha, 24, b"\xff" * 6), SIZE),
        Hostile("webp-zero-by-zero", patched(lossy, 26, bytes(4)), SIZE),
        Hostile("webp-canvas-unlike-its-picture", patched(alpha, 24, b"\x63\0\0\x63\0\0"), DAMAGED),
        Hostile("webp-length-lies", patched(lossy, 4, b"\xff\xff\xff\x7f"), DAMAGED),
        Hostile("webp-unknown-chunk", patched(lossy, 12, b"ABCD"), DAMAGED),
        Hostile("webp-header-alone", b"RIFF\x04\0\0\0WEBP", DAMAGED),
        Hostile("webp-turned-6", turned("WEBP", 6), ACCEPTED),
    ]


def _animations() -> list[Hostile]:
    one_frame = chunk(b"acTL", struct.pack(">II", 1, 0))
    endless = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    none = chunk(b"acTL", struct.pack(">II", 0, 0))
    return [
        Hostile("gif-still", saved(noise().quantize(16), "GIF"), FORMAT),
        Hostile("gif-animated", _animated("GIF"), FORMAT),
        Hostile("png-animated", _animated("PNG"), ANIMATED),
        Hostile("webp-animated", _animated("WEBP"), ANIMATED),
        Hostile("png-one-frame-behind-its-picture", png(32, 32, before=one_frame), ANIMATED),
        Hostile("png-claims-2147483647-frames", png(32, 32, before=endless), ANIMATED),
        Hostile("png-claims-no-frames", png(32, 32, before=none), ACCEPTED),
    ]


def _truncated() -> list[Hostile]:
    """Each format in each of its kinds, cut after its signature, in its header, and in its data."""
    kinds: dict[str, bytes] = {
        "png": saved(noise()),
        "png-palette": saved(noise().quantize(16)),
        "jpeg": saved(noise(), "JPEG"),
        "jpeg-progressive": saved(noise(), "JPEG", progressive=True),
        "webp-lossy": saved(noise(), "WEBP"),
        "webp-lossless": saved(noise(), "WEBP", lossless=True),
        "webp-alpha": saved(noise(mode="RGBA"), "WEBP"),
    }
    cuts: dict[str, Callable[[int], int]] = {
        "behind-its-signature": lambda _: 12,
        "in-its-header": lambda _: 24,
        "at-a-quarter": lambda length: length // 4,
        "at-half": lambda length: length // 2,
        "at-nine-tenths": lambda length: length * 9 // 10,
    }
    return [
        Hostile(f"{kind}-cut-{where}", data[: cut(len(data))], DAMAGED)
        for kind, data in kinds.items()
        for where, cut in cuts.items()
    ]


def _polyglots() -> list[Hostile]:
    archive, page = _zip(), b"<!DOCTYPE html><html><script>alert(document.domain)</script></html>"
    png_file, jpeg_file = saved(noise()), saved(noise(), "JPEG")
    return [
        Hostile("png-and-zip", png_file + archive, ACCEPTED),
        Hostile("png-and-html", png_file + page, ACCEPTED),
        Hostile("png-and-png", png_file + png_file, ACCEPTED),
        Hostile("jpeg-and-zip", jpeg_file + archive, ACCEPTED),
        Hostile("jpeg-and-film", jpeg_file + random.Random(8).randbytes(9_000_000), ACCEPTED),
        Hostile("jpeg-and-html-comment", jpeg_file[:2] + _segment(0xFE, page) + jpeg_file[2:], ACCEPTED),
        Hostile("webp-and-zip", saved(noise(), "WEBP") + archive, ACCEPTED),
        Hostile("zip-and-png", archive + png_file, FORMAT),
        Hostile("html-and-png", page + png_file, FORMAT),
        Hostile("pdf-and-jpeg", b"%PDF-1.7\n" + jpeg_file, FORMAT),
        Hostile("gif-and-png", b"GIF89a" + png_file, FORMAT),
        Hostile("png-signature-over-jpeg", PNG_START + jpeg_file, DAMAGED),
        Hostile("jpeg-signature-over-png", b"\xff\xd8\xff" + png_file, DAMAGED),
        Hostile("webp-signature-over-jpeg", b"RIFF\xff\0\0\0WEBP" + jpeg_file, DAMAGED),
    ]


def _other_bytes() -> list[Hostile]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    entities = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "http://127.0.0.1/">]><svg>&b;</svg>'
    return [
        Hostile("empty", b"", FORMAT),
        Hostile("one-byte", b"\x89", FORMAT),
        Hostile("zeros", bytes(5000), FORMAT),
        Hostile("noise", random.Random(9).randbytes(5000), FORMAT),
        Hostile("svg", svg, FORMAT),
        Hostile("svg-with-entities", entities, FORMAT),
        Hostile("svg-gzipped", gzip.compress(svg, mtime=0), FORMAT),
        Hostile("bmp", saved(noise(), "BMP"), FORMAT),
        Hostile("tiff", saved(noise(), "TIFF"), FORMAT),
        Hostile("ico", saved(noise(), "ICO"), FORMAT),
        Hostile(
            "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n", FORMAT
        ),
        Hostile("pickle", b"cos\nsystem\n(S'touch /tmp/owned'\ntR.", FORMAT),
        Hostile("elf", b"\x7fELF\x02\x01\x01" + bytes(500), FORMAT),
        Hostile("text-in-russian", "это не картинка".encode(), FORMAT),
        Hostile("above-ten-megabytes", saved(noise()) + bytes(MAX_PICTURE_BYTES), "picture_too_large"),
    ]


def _segment(code: int, data: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(data) + 2) + data


def _many_large_scans() -> bytes:
    """150 kB that would take 15 s: the last scan of a large progressive picture again and again."""
    data = saved(Image.new("L", (5000, 5000), 9), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 90 + data[-2:]


def _animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (0, 255)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def _phone_picture() -> bytes:
    return saved(noise(), "MPO", save_all=True, append_images=[noise(32)])


def _zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(zipfile.ZipInfo("../../evil.sh"), "#!/bin/sh\n")
    return sink.getvalue()
