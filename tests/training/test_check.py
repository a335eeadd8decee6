"""`rudolph train check`: all faults at once, counted, and what the model will see."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model.files.checkpoint import load_rudolph
from training.check import check_data
from training.tasks import TaskData

ROOT = Path(__file__).parents[2]


def _check(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli", "train", "check", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_every_fault_is_listed_with_its_number_and_the_exit_code_is_one(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    lines = (pictures / "data.jsonl").read_text(encoding="utf-8").splitlines()
    lines += ["{", '{"picture": "none.png", "text": "кот"}', '{"picture": "other.png", "text": "кот"}']
    (pictures / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for name in ("2.png", "5.png"):
        (pictures / name).write_bytes(b"no image")
    found = _check(pictures, "--init", tiny_v2, "--sheet", tmp_path / "sheet.png")
    assert found.returncode == 1
    assert "8 examples" in found.stdout
    assert "3 rows cannot be used" in found.stdout
    assert "2 × the image none.png does not exist" in found.stdout
    assert "data.jsonl:10, " in found.stdout
    assert "2 images cannot be used" in found.stdout
    assert (tmp_path / "sheet.png").is_file()


def test_a_clean_data_set_ends_with_zero(pictures: Path, tiny_v2: Path) -> None:
    found = _check(pictures, "--init", tiny_v2)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "8 examples" in found.stdout


def test_cut_texts_and_unknown_letters_are_counted(pictures: Path, tiny_v2: Path) -> None:
    rows = [
        {"picture": "0.png", "text": "столбчатая диаграмма красного цвета с подписями осей"},
        {"picture": "1.png", "text": "漢字 кот"},
        {"picture": "2.png", "text": "кот"},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (pictures / "data.jsonl").write_text(text, encoding="utf-8")
    rudolph = load_rudolph(tiny_v2)
    report = check_data(TaskData("caption", pictures), rudolph.text_tokenizer, rudolph.config, 32)
    study = report.studies["texts"]
    assert len(study.cut) == 1
    assert "data.jsonl:1" in study.cut[0]
    assert study.num_unknown == 1
    assert {"漢", "字"} <= set(study.unknown)
    assert "кот" not in "".join(study.unknown)
    shown = "\n".join(report.lines())
    assert "1 texts are cut" in shown
    assert "«漢字 кот» as «" in shown


@pytest.mark.parametrize("task", ["caption", "answer"])
def test_a_data_set_of_the_wrong_task_says_what_is_missing(task: str, pictures: Path, tiny_v2: Path) -> None:
    found = _check(pictures, "--init", tiny_v2, "--task", task)
    assert found.returncode == (task == "answer")
    if task == "answer":
        assert "8 × none of the fields question" in found.stdout
