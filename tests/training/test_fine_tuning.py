"""Fine-tuning from the command line: pictures in, a checkpoint that serves out, kills in between."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jobs.contract.job import Job
from jobs.contract.requests import Sampling, Task, Text2ImageRequest
from jobs.contract.results import ImagesResult
from model.files.checkpoint import load_rudolph
from training.initialization import load_image_tokenizer
from training.run_folder import STATE_FILE
from training.state import load_state
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

ROOT = Path(__file__).parents[2]
GREEDY = Sampling(temperature=1.0, top_k=1, top_p=1.0)


def _train(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cli", "train", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def _transformer(pictures: Path, output: Path, tiny: Path) -> list[object]:
    fixed = ["transformer", pictures, output, "--init", tiny, "--device", "cpu", "--precision", "fp32"]
    return [*fixed, "--steps", 24, "--batch", 8, "--views", 2, "--learning-rate", 0.003, "--save-every", 0.1]


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one_and_serves(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _finish(_train(*_transformer(pictures, whole, tiny_v2)))

    process = _train(*_transformer(pictures, killed, tiny_v2))
    state = killed / "training" / STATE_FILE
    while not state.is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = load_state(state)
    assert saved is not None
    assert 0 < saved["step"] < 24, "the run was not killed half-way"
    assert "resumed at step" in _finish(_train(*_transformer(pictures, killed, tiny_v2)))

    expected, resumed = (load_rudolph(folder, dtype="float32") for folder in (whole, killed))
    weights = resumed.transformer.state_dict()
    for name, tensor in expected.transformer.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert expected.revision == resumed.revision != load_rudolph(tiny_v2).revision
    assert "8 examples of pictures (draw)" in (killed / "README.md").read_text(encoding="utf-8")

    session = Session(resumed, EngineSettings(num_slots=2))
    request = Text2ImageRequest("синий круг", seed=1, sampling=GREEDY)
    session.submit(Job("1", Task.TEXT2IMAGE, request))
    results: list[object] = []
    while session.has_work:
        results += [event.outcome for event in session.step().events if isinstance(event, Finished)]
    session.close()
    (result,) = results
    assert isinstance(result, ImagesResult)


@pytest.mark.slow
def test_a_model_is_trained_from_scratch_in_two_commands_and_goes_on_from_its_own_checkpoint(
    pictures: Path, tmp_path: Path
) -> None:
    tokenizer, model, tuned = (tmp_path / name for name in ("tokenizer", "model", "tuned"))
    quick = ["--steps", 8, "--batch", 4, "--device", "cpu"]
    _finish(_train("image-tokenizer", pictures, tokenizer, *quick, "--codes", 16, "--side", 32))
    assert load_image_tokenizer(tokenizer).config.codebook_size == 16
    assert (tokenizer / "training" / "sheets" / "image-tokenizer-000008.png").is_file()
    sizes = ["--layers", 2, "--hidden", 32, "--heads", 2, "--text-length", 12, "--vocabulary", 64]
    _finish(_train("transformer", pictures, model, *quick, "--image-tokenizer", tokenizer, *sizes))
    config = load_rudolph(model).config
    assert (config.num_layers, config.hidden_size, config.image_width) == (2, 32, 4)
    _finish(_train("image-tokenizer", pictures, tuned, *quick, "--init", model, "--side", 32))
    assert load_rudolph(tuned).config == config


def test_a_start_must_be_named_and_a_preset_that_is_not_here_says_how_to_fetch_it(
    pictures: Path, tmp_path: Path
) -> None:
    output, _ = _train("transformer", pictures, tmp_path / "out").communicate(timeout=120)
    assert "--image-tokenizer" in output
    output, _ = _train("transformer", pictures, tmp_path / "out", "--init", "1.3B").communicate(timeout=120)
    assert "rudolph download 1.3B" in output


def test_a_tokenizer_whose_projection_is_not_the_nearest_vector_is_refused(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    process = _train("image-tokenizer", pictures, tmp_path / "out", "--init", tiny_v2, "--side", 32)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "does not choose the nearest code vector" in output


def test_what_is_wrong_with_the_data_is_the_last_line(pictures: Path, tiny_v2: Path, tmp_path: Path) -> None:
    (pictures / "data.jsonl").write_text("{", encoding="utf-8")
    process = _train("transformer", pictures, tmp_path / "out", "--init", tiny_v2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "data.jsonl:1: not valid JSON" in output
