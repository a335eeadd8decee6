"""The tutorial run of docs/training.md in a short form: fewer digits and steps, and lower marks."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

from examples import digits
from tests.support.servers import ROOT

DEMO = ROOT / "checkpoints" / "demo"
EACH = 15
STEPS = 110


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "train", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _files(folder: Path) -> list[tuple[int, bytes]]:
    """Return the images of a folder that `write_images` has written, and the digit of each."""
    lines = (folder / "data.csv").read_text(encoding="utf-8").splitlines()[1:]
    names = [line.split(",") for line in lines]
    return [(digits.WORDS.index(text.split()[1]), (folder / name).read_bytes()) for name, text in names]


def test_the_judge_recognises_digits_and_nothing_else(tmp_path: Path) -> None:
    digits.write_images(tmp_path, each=1)
    files = _files(tmp_path / "test")
    assert len(files) == 60
    assert digits.count_recognised(files) == 60
    assert digits.count_recognised([((digit + 1) % 10, data) for digit, data in files]) == 0
    empty = io.BytesIO()
    Image.fromarray(numpy.full((64, 64, 3), 255, numpy.uint8)).save(empty, "PNG")
    assert digits.count_recognised([(digit, empty.getvalue()) for digit in range(10)]) <= 1


def test_no_image_of_the_test_is_trained_on(tmp_path: Path) -> None:
    digits.write_images(tmp_path, each=150)
    trained, held = ({data for _, data in _files(tmp_path / name)} for name in ("train", "test"))
    assert len(trained) == 1500
    assert not trained & held


@pytest.mark.slow  # a training run
@pytest.mark.timeout(900)
def test_captions_of_unseen_digits_are_learnt(tmp_path: Path) -> None:
    digits.write_images(tmp_path, EACH)
    model = tmp_path / "model"
    _run(
        "tune", str(tmp_path / "train"), str(model), "--init", str(DEMO), "--task", "caption",
        "--steps", str(STEPS), "--batch", "8",
    )  # fmt: skip
    said = _run("evaluate", str(tmp_path / "test"), "--task", "caption", "--local", "--model", str(model))
    found = re.search(r"caption: (\d+) of 60 right", said)
    assert found, said
    # Guessing is right for six.
    assert int(found[1]) >= 20, said
