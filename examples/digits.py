"""The tutorial run of docs/training.md: captions, classes and drawings of the digits of scikit-learn.

    python -m examples.digits images FOLDER       writes FOLDER/train and FOLDER/test
    python -m examples.digits judge --server URL  counts the drawn digits that a classifier recognises

Needs scikit-learn.
"""

import argparse
import base64
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import SVC

WORDS = ("ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять")
SIDE = 64
"""Pixels of a side of the written images: the demo checkpoint's."""
PIXELS = 8
"""Pixels of a side in the data set."""
BRIGHTEST = 16.0
TEST_EACH = 6
SEED = 0


def text(digit: int) -> str:
    """Return the caption of a digit: «цифра семь»."""
    return f"цифра {WORDS[digit]}"


def write_images(folder: Path, each: int) -> None:
    """Write `each` images of every digit to folder/train, and TEST_EACH others to folder/test."""
    images, targets = _digits()
    places = [numpy.flatnonzero(targets == digit) for digit in range(10)]
    for name, chosen in (
        ("train", [own[:each] for own in places]),
        ("test", [own[-TEST_EACH:] for own in places]),
    ):
        part = folder / name
        part.mkdir(parents=True, exist_ok=True)
        with (part / "data.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("image", "text"))
            for digit, own in enumerate(chosen):
                for place in own.tolist():
                    _image(images[place]).save(part / f"{place}.png")
                    rows.writerow((f"{place}.png", text(digit)))


def _digits() -> tuple[NDArray[numpy.float64], NDArray[numpy.int64]]:
    """Return the images, shape = (digits, PIXELS, PIXELS), in [0, BRIGHTEST], and which digit each shows."""
    data: Any = load_digits()
    return data.images, data.target


def _image(values: NDArray[numpy.float64]) -> Image.Image:
    """Return a dark digit on white."""
    pixels = (255 - values / BRIGHTEST * 255).astype(numpy.uint8)
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def count_recognised(images: Sequence[tuple[int, bytes]]) -> int:
    """Return how many image files show their digit, for a support vector machine on the whole data set."""
    known, targets = _digits()
    judge: Any = SVC(kernel="rbf", C=10.0)
    judge.fit(known.reshape(len(known), -1), targets)
    small = [
        Image.open(io.BytesIO(data)).convert("L").resize((PIXELS, PIXELS), Image.Resampling.BOX)
        for _, data in images
    ]
    features = numpy.stack([numpy.asarray(image, numpy.float64).ravel() for image in small])
    found = judge.predict((255 - features) / 255 * BRIGHTEST)
    return int((found == numpy.array([digit for digit, _ in images])).sum())


def draw(url: str, each: int) -> list[tuple[int, bytes]]:
    """Draw `each` images of every digit on a server, the best of four candidates each."""
    drawn: list[tuple[int, bytes]] = []
    with httpx.Client(base_url=url, timeout=600) as client:
        for digit in range(10):
            for place in range(each):
                body = {"prompt": text(digit), "n": 1, "candidates": 4, "seed": SEED + place}
                reply = client.post("/v1/text2image", json=body).raise_for_status().json()
                drawn.append((digit, base64.b64decode(reply["images"][0]["b64_json"])))
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.digits")
    commands = parser.add_subparsers(dest="command", required=True)
    images = commands.add_parser("images", help="write images for training and for the test")
    images.add_argument("folder", type=Path)
    images.add_argument("--each", type=int, default=150, help="training images of a digit (default: 150)")
    judge = commands.add_parser("judge", help="draw digits on a server and count the recognised ones")
    judge.add_argument("--server", default="http://127.0.0.1:8000")
    judge.add_argument("--each", type=int, default=6, help="images of a digit (default: 6)")
    chosen = parser.parse_args(arguments)
    if chosen.command == "images":
        write_images(chosen.folder, chosen.each)
        return
    drawn = draw(chosen.server, chosen.each)
    sys.stdout.write(f"draw: {count_recognised(drawn)} of {len(drawn)} recognised\n")


if __name__ == "__main__":
    main()
