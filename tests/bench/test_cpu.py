"""The benchmark runs on a toy shape and writes its results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_row_that_was_disturbed_is_measured_again_into_the_kept_file(tmp_path: Path) -> None:
    output = tmp_path / "cpu.json"
    command = [sys.executable, "-m", "bench", "--quick", "--repeats", "1", "--output", str(output)]
    for only in ("10 classes", "rank"):
        subprocess.run([*command, "--only", only], cwd=ROOT, check=True, capture_output=True, timeout=200)
    document = json.loads(output.read_text(encoding="utf-8"))
    assert [row["name"] for row in document["rows"]] == ["classify, 10 classes", "rank 16 pictures by a text"]
    assert len(document["repeated"]) == 1


@pytest.mark.slow
def test_every_row_has_quantiles_of_both_sides(tmp_path: Path) -> None:
    output = tmp_path / "cpu.json"
    command = [sys.executable, "-m", "bench", "--quick", "--repeats", "1", "--output", str(output)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=200)
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 10
    assert [row["name"] for row in rows if "int8" in row["name"]] == [
        "image2text, 1 of one picture, int8 layers"
    ]
    sides = [row[side] for row in rows for side in ("ours", "package") if row[side]]
    assert all(side["seconds"]["n"] >= 1 for side in sides)
    for side in sides:
        seconds = side["seconds"]
        assert 0 < seconds["min"] <= seconds["p50"] <= seconds["max"]
