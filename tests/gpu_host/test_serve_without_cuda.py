"""A machine whose GPU torch cannot use: `serve` and `doctor` with real processes and a fake nvidia-smi."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support import nvidia_smi
from tests.support.servers import ROOT, serving

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a usable GPU")
GPUS = {"GPU-aaaaaaaa-1111": ["MIG-a1111111-1111", "MIG-a2222222-2222"], "GPU-bbbbbbbb-1111": []}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with the program."""
    nvidia_smi.install(tmp_path / "bin", GPUS)
    return f"{tmp_path / 'bin'}:{os.environ['PATH']}"


def test_serve_runs_one_worker_on_the_cpu_with_one_warning(tmp_path: Path, tiny_v2: Path, path: str) -> None:
    with serving(tiny_v2, tmp_path / "data", "--device", "auto", PATH=path) as server:
        reply = server.client.post("/v1/text2image", json={"prompt": "кот", "seed": 1})
        assert reply.status_code == 200
        (worker,) = server.client.get("/v1/models").json()["data"]
        assert worker
        assert len(server.worker_pids()) == 1
        warnings = [line for line in server.text.splitlines() if '"level": "warning"' in line]
        noise = [line for line in server.text.splitlines() if '"level": "error"' in line or "Warning" in line]
    assert len(warnings) == 1, warnings
    assert "gpu_not_usable" in warnings[0]
    assert "The model runs on the CPU" in warnings[0]
    assert noise == []


def test_serve_on_a_named_gpu_ends_with_the_reason(tmp_path: Path, tiny_v2: Path, path: str) -> None:
    command = [
        sys.executable,
        "-m",
        "cli",
        "serve",
        "--device",
        "cuda",
        "--model",
        str(tiny_v2),
        "--port",
        "0",
    ]
    reply = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert reply.returncode == 78
    assert torch.__version__ in reply.stderr
    assert "Traceback" not in reply.stderr


def test_doctor_names_every_unusable_gpu_and_tries_the_cpu(path: str, tiny_v2: Path) -> None:
    command = [sys.executable, "-m", "cli", "doctor", "--model", str(tiny_v2)]
    reply = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert reply.returncode == 1
    for name in ("GPU 0 (MIG-a1111111-1111)", "GPU 1 (MIG-a2222222-2222)", "GPU 2 (GPU-bbbbbbbb-1111)"):
        (line,) = [row for row in reply.stdout.splitlines() if name in row]
        assert "missing" in line
        assert torch.__version__ in line
    for name in ("Triton", "C compiler", "NVIDIA driver"):
        assert name in reply.stdout
    (trial,) = [row for row in reply.stdout.splitlines() if "trial on CPU" in row]
    assert "ok" in trial
    assert "one image of demo" in trial
