"""The estimated step of docs/gpu.md counts the kernels that a dry run captures."""

import json
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: the CUDA path is NOT dry-run")

from bench import gpu_estimate
from tests.cuda_dry_run.test_graphs import nodes_of


def test_estimate_has_the_kernels_of_a_captured_step() -> None:
    largest, *smaller = nodes_of("350M", 32)
    assert largest == gpu_estimate.kernels(32) == gpu_estimate.kernels(256)
    assert set(smaller[:5]) == {gpu_estimate.kernels(1)} == {gpu_estimate.kernels(16)}


def test_more_rows_and_longer_gaps_take_longer() -> None:
    gpu = gpu_estimate.GPUS[0]
    steps = [gpu_estimate.step_s(gpu, rows, 1e-6) for rows in gpu_estimate.ROWS]
    assert steps == sorted(steps)
    assert gpu_estimate.step_s(gpu, 1, 2e-6) > steps[0]


def test_measured_steps_stand_beside_the_estimate_of_their_gpu(tmp_path: Path) -> None:
    rows = [
        {"section": "ladder", "name": f"64 rows: {gpu_estimate.SERVES}", "rows": 64, "median": 0.00071},
        {"section": "ladder", "name": "64 rows: + graph", "rows": 64, "median": 0.5},
    ]
    for gpu, tiny in (("NVIDIA L40S", False), ("NVIDIA H100 80GB HBM3", False), ("NVIDIA A100-SXM4", True)):
        document = {"machine": {"gpu": gpu}, "tiny": tiny, "rows": rows}
        (tmp_path / f"{gpu}.json").write_text(json.dumps(document))
    (tmp_path / "cpu.json").write_text(json.dumps({"machine": {"processor": "Zen"}, "rows": []}))
    cells = {row[0]: row for row in gpu_estimate.table(tmp_path)}
    assert cells["H100"][-4:] == ["–", "–", "0.71", "–"]
    assert all(cells[name][-4:] == ["–"] * 4 for name in ("H200", "A100", "L4", "T4"))
