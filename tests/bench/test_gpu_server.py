"""The server's benchmark script, from start to end: a real server, real requests, nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu_server.sh"


@pytest.mark.slow
def test_the_script_measures_a_server_that_it_starts_and_stops(tiny_v1: Path, tmp_path: Path):
    output = tmp_path / "server.json"
    settings = {"DEVICE": "cpu", "SCALE": "0.01", "N": "2", "CONNECTIONS": "4", "OUTPUT": str(output)}
    settings["RUDOLPH_CPU_THREADS"] = "1"
    done = subprocess.run(
        ["sh", str(SCRIPT), "", str(tiny_v1)],
        env={**os.environ, **settings, "PYTHON": sys.executable, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == [
        "one picture, idle server",
        "n = 2, 4 connections",
        "mixed load: n = 1",
        "mixed load: n = 2",
        "mixed load: caption",
        "mixed load: classify",
    ]
    assert all(row["samples"] for row in rows)
    assert not list(tmp_path.glob("tmp.*")), "the script left its folder behind"


def test_a_server_that_does_not_start_is_an_error_with_its_log(tmp_path: Path):
    done = subprocess.run(
        ["sh", str(SCRIPT), "", str(tmp_path / "nothing")],
        env={**os.environ, "DEVICE": "cpu", "PYTHON": sys.executable, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode != 0
    assert "the server did not start" in done.stderr
    assert "nothing" in done.stdout
