"""The benchmark runs, on a toy shape, and writes what it measured."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_has_samples_and_the_raw_figures_are_kept(tmp_path: Path) -> None:
    output = tmp_path / "cpu.json"
    command = [sys.executable, "-m", "bench", "--quick", "--repeats", "1", "--output", str(output)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=200)
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 7
    assert all(sample > 0 for row in rows for sample in (*row["ours"], *row["reference"]))
