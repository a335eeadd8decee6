"""Writing a picture as PNG: ours, Pillow's settings, and faster encoders where they are installed.

Decides what `model/png.py` does. Packages that are not here are left out of the table.
"""

import importlib
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench import results
from model import png

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "demo.png"
SIDES = (128, 256)
REPEATS = 300

Pixels = npt.NDArray[np.uint8]
Encoder = Callable[[Pixels], bytes]


def compare() -> dict[str, Any]:
    """Milliseconds and bytes a picture by encoder and size, as a result document."""
    content = results.document(rows=[])
    for side in SIDES:
        pixels = _picture(side)
        for name, encode in _encoders():
            file = encode(pixels)
            if not np.array_equal(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), pixels):
                raise RuntimeError(f"{name} changes the picture")
            samples = results.timed(lambda encode=encode, pixels=pixels: encode(pixels), REPEATS)
            row = {
                "name": f"{side} × {side}, {name}",
                "value": results.median(samples) * 1e3,
                "unit": f"ms, {len(file) / 1024:.1f} KiB",
            }
            content["rows"].append(row)
            print(f"  {row['name']:<60} {row['value']:8.3f} {row['unit']}", flush=True)
    return content


def _picture(side: int) -> Pixels:
    """A drawn picture with a little noise: flat areas alone would flatter run lengths."""
    picture = Image.open(PICTURE).convert("RGB")
    size = min(picture.size)
    pixels = np.asarray(
        picture.crop((0, 0, size, size)).resize((side, side), Image.Resampling.BICUBIC)
    ).astype(np.int16)
    noise = np.random.default_rng(1).integers(-2, 3, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def _encoders() -> Iterator[tuple[str, Encoder]]:
    yield "model/png.py", png.encode_png
    for level in (6, 1):
        yield f"Pillow, level {level}", _pillow(compress_level=level)
    yield "Pillow, level 1, run lengths", _pillow(compress_level=1, compress_type=zlib.Z_RLE)
    for module, name in (("isal.isal_zlib", "isal"), ("zlib_ng.zlib_ng", "zlib-ng")):
        library = _optional(module)
        if library is not None:
            for level in (0, 1) if name == "isal" else (1,):
                yield f"one filter, {name}, level {level}", _with_deflate(library, level)
    opencv = _optional("cv2")
    if opencv is not None:
        yield (
            "OpenCV, level 1",
            lambda pixels: opencv.imencode(".png", pixels[:, :, ::-1], [16, 1])[1].tobytes(),
        )
    fpng = _optional("fpng_py")
    if fpng is not None:
        yield (
            "fpng",
            lambda pixels: fpng.fpng_encode_image_to_memory(
                pixels.tobytes(), pixels.shape[1], pixels.shape[0], 3
            ),
        )


def _pillow(**options: int) -> Encoder:
    def encode(pixels: Pixels) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", **options)
        return file.getvalue()

    return encode


def _with_deflate(library: Any, level: int) -> Encoder:
    """Ours with another library's deflate."""
    return lambda pixels: png.png_file(pixels, library.compress(png.filtered_rows(pixels), level))


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
