"""Several processes, adapters, and what needs an optional package."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.files.checkpoint import load_rudolph
from tests.training.tuning import tune
from training.extras import MissingExtraError, require
from training.lora import add_adapters, merge_adapters
from training.optimizer import Optimizer, OptimizerSettings

ROOT = Path(__file__).parents[2]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_rudolph(folder, dtype="float32").transformer.state_dict()


def _losses(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "training" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) | {"elapsed_s": 0} for line in lines]


LEAVE = """
import os, torch, importlib
from training.distributed import join_processes, leave_processes
processes = join_processes(torch.device("cpu"))
assert processes.size == 2
importlib.import_module("torch._dynamo")
processes.wait()
leave_processes(together=True)
for thread in os.listdir("/proc/self/task"):
    with open(f"/proc/self/task/{thread}/comm") as file:
        name = file.read().strip()
    assert not name.startswith("pt_gloo"), name
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed in /proc")
def test_no_thread_of_gloo_is_left_after_leaving(tmp_path: Path) -> None:
    # A thread that is left can abort the process while the interpreter ends.
    script = tmp_path / "leave.py"
    script.write_text(LEAVE, encoding="utf-8")
    run = _torchrun(str(script))
    assert run.returncode == 0, run.stdout + run.stderr


def _torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run two processes of torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_of_torchrun_give_the_losses_and_weights_of_one(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    command = ["-m", "cli", "train", "tune", str(pictures), str(out), "--init", str(tiny_v2)]
    command += ["--task", "draw", "--device", "cpu", "--precision", "fp32", "--views", "1", "--steps", "20"]
    command += ["--batch", "5", "--validate", "0.3", "--validate-every", "10", "--learning-rate", "0.001"]
    run = _torchrun(*command)
    assert run.returncode == 0, run.stdout + run.stderr
    settings: dict[str, Any] = {"validate": 0.3, "validate_every": 10, "batch": 5, "total_steps": 20}
    tune(pictures, tmp_path / "one", tiny_v2, "draw", **settings)
    for one, two in zip(_losses(tmp_path / "one"), _losses(out), strict=True):
        assert two == pytest.approx(one, rel=1e-4), (one, two)
    expected = _weights(tmp_path / "one")
    for name, weight in _weights(out).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-3, atol=2e-3, msg=name)
    assert run.stdout.count("draw: ") == 1, "one process reports"


def test_merged_adapters_compute_what_the_adapters_did(tiny_v2: Path) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    transformer = load_rudolph(tiny_v2, dtype="float32").transformer
    names = set(transformer.state_dict())
    add_adapters(transformer, 4)
    trained = [p for p in transformer.parameters() if p.requires_grad]
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(3, 60, (2, transformer.config.total_length))
    with torch.no_grad():
        expected = transformer(ids)
        before = load_rudolph(tiny_v2, dtype="float32").transformer(ids)
        merge_adapters(transformer)
        torch.testing.assert_close(transformer(ids), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, expected)
    assert set(transformer.state_dict()) == names


def test_a_tuning_with_adapters_changes_the_matrices_of_the_blocks_only_and_resumes(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    settings: dict[str, Any] = {"lora_rank": 2, "learning_rate": 0.01, "warm_up": 0, "schedule": "constant"}
    tune(pictures, tmp_path / "out", tiny_v2, "caption", **settings)
    before, after = _weights(tiny_v2), _weights(tmp_path / "out")
    moved = {name for name, weight in after.items() if (weight - before[name]).abs().max() > 1e-3}
    assert moved
    for name in moved:
        assert name.startswith("transformer.layers.")
        assert name.endswith(".weight")
        assert "layernorm" not in name
    assert (tmp_path / "out" / "training" / "state.pt").stat().st_size < 1_000_000
    said = tune(pictures, tmp_path / "out", tiny_v2, "caption", **settings, total_steps=12)
    assert "resumed at step 6 of 12" in said
    assert any(not torch.equal(w, after[name]) for name, w in _weights(tmp_path / "out").items())


def test_a_missing_package_names_the_extra_and_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtraError, match=r"--lora .*pip install 'rudolph-server\[lora\]'"):
        require("no_such_package", "lora", "--lora 8")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    parameter = torch.nn.Parameter(torch.zeros(4, 4))
    with pytest.raises(MissingExtraError, match=r"adamw8bit.*\[adamw8bit\]"):
        Optimizer([parameter], OptimizerSettings(1e-3, eight_bit=True), 10)
