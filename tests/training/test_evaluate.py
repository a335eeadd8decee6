"""`rudolph train evaluate`: results of a checkpoint on examples, and the report with images."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.tuning import tune
from training.evaluation import Outcome, share_right, write_report

ROOT = Path(__file__).parents[2]


def _evaluate(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli", "train", "evaluate", *map(str, arguments), "--device", "cpu"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.slow
def test_captions_of_a_tuned_checkpoint_are_counted_and_reported(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    model, report = tmp_path / "model", tmp_path / "report.html"
    said = tune(pictures, model, tiny_v2, total_steps=150, learning_rate=0.005, batch=8, seed=3)
    found = _evaluate(pictures, "--task", "caption", "--local", "--model", model, "--report", report)
    assert found.returncode == 0, found.stdout + found.stderr
    right = int(found.stdout.split("caption: ")[1].split(" of 8 right")[0])
    assert right >= 6, (said, found.stdout)
    page = report.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 8
    assert page.count('class="wrong"') == 8 - right
    classes = _evaluate(pictures, "--task", "classify", "--local", "--model", model, "--limit", 3)
    assert "classify: 3 of 3 right" in classes.stdout, classes.stdout + classes.stderr


@pytest.mark.slow
def test_a_task_that_cannot_be_measured_names_those_that_can(pictures: Path, tiny_v2: Path) -> None:
    found = _evaluate(pictures, "--task", "text", "--local", "--model", tiny_v2)
    assert found.returncode == 1
    assert "choose caption, classify, answer, draw" in found.stderr
    found = _evaluate(pictures, "--task", "caption", "--local", "--model", tiny_v2, "--split", "test")
    assert "has no split test; its splits are train" in found.stderr


def test_a_report_escapes_texts_and_shows_the_wrong_results_first(tmp_path: Path) -> None:
    outcomes = [Outcome("a", "кот", " КОТ "), Outcome("b", "<b>", "дом", question="что?")]
    assert share_right(outcomes) == 0.5
    write_report(tmp_path / "report.html", "caption: data", outcomes)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 of 2 right (50.0%)" in page
    assert "<b>" not in page
    assert page.index("&lt;b&gt;") < page.index("КОТ")
