"""What a run is: changed data or settings are refused, signals save, and a stopped run gives a checkpoint."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from model.files.checkpoint import load_rudolph
from model.image_tokenizer import ImageTokenizer
from tests.training.tuning import tune
from training.data import DataError
from training.export import export_run
from training.run_folder import STATE_FILE, StateMismatch, lock_folder
from training.sequences import LossWeights
from training.state import DiskFullError, load_state
from training.tasks import TaskData

ROOT = Path(__file__).parents[2]


def _start(command: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "train", command, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _run(command: str, *arguments: object, code: int = 0) -> str:
    process = _start(command, *arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def _arguments(data: Path, output: Path, tiny: Path, *more: object) -> list[object]:
    fixed = [data, output, "--init", tiny, "--device", "cpu", "--precision", "fp32", "--views", 1]
    return [*fixed, "--steps", 6, "--batch", 4, *more]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_rudolph(folder, dtype="float32").transformer.state_dict()


def _equal(first: Path, second: Path) -> bool:
    other = _weights(second)
    return all(torch.equal(tensor, other[name]) for name, tensor in _weights(first).items())


def _correct_a_text(data: Path) -> None:
    rows = [json.loads(line) for line in (data / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[3]["text"] = "зеленый круг"
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (data / "data.jsonl").write_text(text, encoding="utf-8")


def _correct_an_image(data: Path) -> None:
    Image.new("RGB", (32, 32), (1, 2, 3)).save(data / "3.png")


def _add_a_row(data: Path) -> None:
    lines = (data / "data.jsonl").read_text(encoding="utf-8").splitlines()
    (data / "data.jsonl").write_text("\n".join([*lines[:-1], lines[2], lines[-1]]), encoding="utf-8")


@pytest.mark.parametrize("change", [_correct_a_text, _correct_an_image, _add_a_row])
def test_a_run_with_corrected_data_is_refused_and_a_new_folder_trains_them(
    change: Callable[[Path], None], pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    tune(pictures, tmp_path / "out", tiny_v2)
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    change(pictures)
    with pytest.raises(StateMismatch, match=r"changed: data\.0\.data\)\. Delete"):
        tune(pictures, tmp_path / "out", tiny_v2)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    tune(pictures, tmp_path / "new", tiny_v2)
    assert not _equal(tmp_path / "out", tmp_path / "new")


def test_a_run_with_other_settings_is_refused_by_their_name(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tune(pictures, out, tiny_v2)
    for change, named in (
        ({"learning_rate": 0.5}, "training.optimizer.learning_rate"),
        ({"accumulate": 2}, "training.accumulate"),
        ({"views": 2}, "views"),
        ({"objective": "reference"}, "training.objective"),
        ({"dropout": 0.1}, "training.dropout"),
        ({"batch": 3}, "batch"),
        ({"seed": 9}, "seed"),
        ({"schedule": "cosine"}, "training.optimizer.schedule"),
        ({"warm_up": 1}, "training.optimizer.warm_up_steps"),
        ({"validate": 0.5}, "validate"),
        ({"ema": 0.9}, "training.ema"),
        ({"frozen": frozenset({"head"})}, "training.frozen"),
        ({"unconditional_share": 0.5}, "unconditional_share"),
        ({"tasks": [TaskData("draw", pictures)]}, "data.0.task"),
        ({"tasks": [TaskData("caption", pictures, weights=LossWeights(1, 1, 1))]}, "data.0.weights.left"),
    ):
        with pytest.raises(StateMismatch) as refused:
            tune(pictures, out, tiny_v2, **change)
        assert named in str(refused.value), str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_the_same_command_ends_with_equal_weights(
    number: signal.Signals, pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    more = ["--task", "draw", "--steps", 60, "--save-every", 3600, "--learning-rate", 0.001]
    tune(pictures, tmp_path / "whole", tiny_v2, "draw", total_steps=60)
    process = _start("tune", *_arguments(pictures, tmp_path / "out", tiny_v2, *more))
    log = tmp_path / "out" / "training" / "log.jsonl"
    while not (log.is_file() and log.stat().st_size):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert "The same command goes on" in output
    state = load_state(tmp_path / "out" / "training" / STATE_FILE)
    assert state is not None
    assert 20 <= state["step"] < 60
    tune(pictures, tmp_path / "out", tiny_v2, "draw", total_steps=60)
    assert _equal(tmp_path / "out", tmp_path / "whole")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    whole = (tmp_path / "whole" / "training" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    for line, expected in zip(lines, map(json.loads, whole), strict=True):
        assert line | {"elapsed_s": 0} == expected | {"elapsed_s": 0}


def test_steps_may_grow_and_any_state_is_exported(pictures: Path, tiny_v2: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    measured: dict[str, Any] = {"schedule": "constant", "warm_up": 0, "validate": 0.3, "validate_every": 2}
    tune(pictures, out, tiny_v2, **measured)
    first = _weights(out)
    said = tune(pictures, out, tiny_v2, **measured, total_steps=12)
    assert "resumed at step 6 of 12" in said
    assert "which had the best validation loss" in said
    assert export_run(out, tmp_path / "last", best=False) == 12
    assert export_run(out, tmp_path / "best", best=True) in (8, 10, 12)
    assert any(not torch.equal(tensor, first[name]) for name, tensor in _weights(tmp_path / "last").items())
    assert _equal(out, tmp_path / "best")


def test_a_run_that_learns_nothing_more_stops_early_and_stays_stopped(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings: dict[str, Any] = {"validate": 0.3, "validate_every": 1, "patience": 2, "warm_up": 0}
    settings |= {"learning_rate": 0.5, "schedule": "constant", "total_steps": 40}
    assert "stopped early at step" in tune(pictures, out, tiny_v2, **settings)
    state = load_state(out / "training" / STATE_FILE)
    assert state is not None
    assert state["step"] < 40
    tune(pictures, out, tiny_v2, **settings)
    again = load_state(out / "training" / STATE_FILE)
    assert again is not None
    assert again["step"] == state["step"]


def test_broken_images_are_counted_and_skipped_up_to_a_limit(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    for name in ("2.png", "5.png"):
        (pictures / name).write_bytes(b"no image")
    for allowed in (0, 1):
        with pytest.raises(DataError) as refused:
            tune(pictures, tmp_path / "out", tiny_v2, skip_broken=allowed)
        message = str(refused.value)
        assert "2 images cannot be used" in message
        assert "data.jsonl:3" in message
        assert "data.jsonl:6" in message
        assert "--skip-broken 2" in message
    assert "caption: 6 examples" in tune(pictures, tmp_path / "out", tiny_v2, skip_broken=2)


def test_an_image_is_encoded_once_however_often_the_others_are_repaired(
    pictures: Path, tiny_v2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    original = ImageTokenizer.encode

    def counting(self: ImageTokenizer, pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(ImageTokenizer, "encode", counting)
    (pictures / "5.png").write_bytes(b"no image")
    with pytest.raises(DataError):
        tune(pictures, tmp_path / "out", tiny_v2)
    assert sum(encoded) == 7
    tune(pictures, tmp_path / "out", tiny_v2, skip_broken=1)
    assert sum(encoded) == 7


def test_two_runs_in_one_folder_are_refused(pictures: Path, tiny_v2: Path, tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path / "out" / "training"),
        pytest.raises(ValueError, match="Another process trains"),
    ):
        tune(pictures, tmp_path / "out", tiny_v2)


def test_a_disk_without_room_is_refused_before_the_first_step(
    pictures: Path, tiny_v2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr("training.run_folder.shutil.disk_usage", lambda _path: usage)
    with pytest.raises(DiskFullError, match=r"needs [\d.]+ MiB more in .* and 977 KiB are free"):
        tune(pictures, tmp_path / "out", tiny_v2)
    assert not (tmp_path / "out" / "training" / STATE_FILE).exists()


@pytest.mark.slow
def test_commands_refuse_what_cannot_be_meant(pictures: Path, tiny_v2: Path, tmp_path: Path) -> None:
    output = _run("tune", *_arguments(pictures, tiny_v2, tiny_v2, "--task", "caption"), code=1)
    assert "is the checkpoint that training starts from" in output
    early = _arguments(pictures, tmp_path, tiny_v2, "--task", "caption", "--early-stop", 2)
    assert "--validate 0.05" in _run("tune", *early, code=1)
    assert "has not saved a state yet" in _run("export", tmp_path, code=1)
