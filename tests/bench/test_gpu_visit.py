"""The script for a GPU host runs through every line on a CPU, so that the first real run is no rehearsal."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench import weights
from bench.gpu import SECTIONS
from model.config import PRESETS, ModelConfig

pytest.importorskip("triton", reason="triton is not installed: the GPU benchmark is NOT tested")

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "bench" / "gpu_server.sh"


@pytest.fixture(scope="module")
def visit(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, subprocess.CompletedProcess[str]]]:
    """The folder of results of a dry run, and the run."""
    place = tmp_path_factory.mktemp("visit")
    temporary = place / "tmp"
    temporary.mkdir()
    settings = {
        "DEVICE": "cpu",
        "SCALE": "0.01",
        "N": "2",
        "CONNECTIONS": "4",
        "RUDOLPH_CPU_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TRITON_INTERPRET": "1",
        "PYTHON": sys.executable,
        "TMPDIR": str(temporary),
    }
    done = subprocess.run(
        ["sh", "scripts/gpu_visit.sh", str(place / "out"), "", "tests/fixtures/tiny-v1"],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    yield place / "out", done
    assert not list(temporary.glob("tmp.*")), "the script left its folder"


Visit = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)  # the run itself is part of the first test
def test_every_step_of_the_visit_succeeds(visit: Visit) -> None:
    out, done = visit
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    steps = [line.split(":")[0] for line in (out / "visit.txt").read_text().splitlines()]
    assert steps == ["doctor", "tests", "bench", "server"]


@pytest.mark.slow
@pytest.mark.nightly
def test_every_section_of_the_benchmark_is_complete(visit: Visit) -> None:
    document = json.loads((visit[0] / "gpu.json").read_text(encoding="utf-8"))
    assert {name: section["state"] for name, section in document["sections"].items()} == dict.fromkeys(
        SECTIONS, "complete"
    )
    measured = {row["section"] for row in document["rows"]}
    expected = {*SECTIONS, "memory"} - {"reference"}
    assert expected <= measured
    assert document["versions"]["triton"]
    assert document["tiny"] is True
    assert all(row["seconds"]["n"] for row in document["rows"] if "median" in row)


@pytest.mark.slow
@pytest.mark.nightly
def test_checks_of_the_benchmark_hold(visit: Visit) -> None:
    rows = json.loads((visit[0] / "gpu.json").read_text(encoding="utf-8"))["rows"]
    by_name = {row["name"]: row.get("value") for row in rows}
    assert by_name["fused step against plain, float32"] < 1e-5
    assert by_name["logits of a few rows against plain, float32"] < 1e-5
    assert by_name["logits of a sequence equal alone and among 2"] == 1
    assert by_name["draws equal to the plain sampler's"] == 1
    assert by_name["greedy codes that float32 would draw too"] == 1
    equal = [row for row in rows if row["section"] == "agreement"]
    assert len(equal) == 6
    assert all(row["value"] == 1 for row in equal)


@pytest.mark.slow
@pytest.mark.nightly
def test_server_was_measured_and_stopped(visit: Visit) -> None:
    rows = json.loads((visit[0] / "server.json").read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == [
        "one image, idle server",
        "n = 2, 4 connections",
        "mixed load: n = 1",
        "mixed load: n = 2",
        "mixed load: caption",
        "mixed load: classify",
    ]
    assert all(row["seconds"]["n"] > 0 for row in rows)


def test_server_that_does_not_start_is_an_error_with_its_log(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", str(SERVER), "", str(tmp_path / "nothing")],
        env={**os.environ, "DEVICE": "cpu", "PYTHON": sys.executable, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode != 0
    assert "The server did not start." in done.stderr
    assert "nothing" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_error_on_a_machine_without_a_gpu_names_the_remedy(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "no CUDA device" in done.stderr
    assert not output.exists()


@pytest.mark.parametrize(
    ("program", "state", "rows"),
    [
        ('printf \'{"rows": [1], "notes": []}\' >"$6"; kill -SEGV $$', "failed with code -11", [1]),
        ("exec sleep 60", "ended after 1 s", []),
    ],
)
def test_section_that_dies_or_hangs_does_not_end_the_others(
    tmp_path: Path, program: str, state: str, rows: list[int]
) -> None:
    """The program takes the place of Python in the processes of the sections."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{program}\n")
    fake.chmod(0o755)
    output = tmp_path / "gpu.json"
    arguments = ["--output", str(output), "--section-s", "1"]
    script = f"import sys; sys.executable = {str(fake)!r}; sys.argv[1:] = {arguments!r}"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; from bench.gpu import main; main()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    document = json.loads(output.read_text(encoding="utf-8"))
    assert {section["state"] for section in document["sections"].values()} == {state}
    assert document["rows"] == rows * len(SECTIONS)
    assert len(document["notes"]) == len(SECTIONS)


SMALL = ModelConfig(2, 16, 2, 6, 4, 6, 3, 5, bpe_vocab_size=60, image_codebook_size=64)


@pytest.mark.parametrize("config", [SMALL, PRESETS["350M"].config], ids=["small", "350M"])
def test_random_weights_are_those_of_the_seed_and_not_what_memory_held(config: ModelConfig) -> None:
    if config is not SMALL:
        # One layer is enough: what was not initialized were the tables of embeddings.
        config = ModelConfig(**{**vars(config), "num_layers": 1})
    first = weights.transformer(config, torch.float16)
    # Freed blocks of the same sizes are what a new network gets.
    spoilt = [torch.full_like(weight.float(), float("nan")) for weight in first.parameters()]
    del spoilt
    second = weights.transformer(config, torch.float16)
    for (name, one), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.isfinite(one).all(), name
        assert torch.equal(one, other), name
        assert one.float().std() > 0, name
