"""The GPU benchmark runs through every line at toy sizes, so that the first real run is no rehearsal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: the GPU benchmark is NOT tested")


@pytest.mark.slow
def test_every_section_of_the_gpu_benchmark_runs_at_toy_size(tiny_v1: Path, tmp_path: Path):
    output = tmp_path / "results" / "tiny.json"
    command = [sys.executable, "-m", "bench.gpu", "--device", "cpu", "--tiny"]
    done = subprocess.run(
        [*command, "--output", str(output), "--checkpoint", str(tiny_v1)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    document = json.loads(output.read_text(encoding="utf-8"))
    rows = document["rows"]
    measured = {row["section"] for row in rows if row["name"] != "section"}
    assert {"first", "correctness", "ladder", "tuning", "engine", "jacobi"} <= measured
    assert document["versions"]["triton"]
    assert document["tiny"] is True
    assert all(row["samples"] for row in rows if "median" in row)
    by_name = {row["name"]: row.get("value") for row in rows}
    assert by_name["fused step against plain, float32"] < 1e-5
    assert by_name["draws equal to the plain sampler's"] == 1
    assert by_name["greedy codes that float32 would draw too"] == 1


def test_a_machine_without_a_gpu_is_told_so():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    assert "no CUDA device" in done.stderr
