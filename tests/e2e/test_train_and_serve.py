"""A checkpoint that `rudolph train tune` wrote answers over HTTP what it was trained to answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.servers import ROOT, serving
from tests.training.tuning import tune
from training.sequences import LossWeights
from training.tasks import TaskData

COLOURS = {"красный": "red", "зеленый": "green", "синий": "blue", "белый": "white"}


def _questions(folder: Path) -> Path:
    folder.mkdir()
    rows: list[dict[str, str]] = [{"question": "сколько будет два и два", "answer": "четыре"}]
    for index, (name, colour) in enumerate(COLOURS.items()):
        Image.new("RGB", (32, 32), colour).save(folder / f"{index}.png")
        rows.append({"image": f"{index}.png", "question": "какой цвет", "answer": name})
        rows.append({"image": f"{index}.png", "question": "что это", "answer": "квадрат"})
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "data.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_answers_are_trained_served_and_measured_over_http(tiny_v2: Path, tmp_path: Path) -> None:
    data, model = _questions(tmp_path / "data"), tmp_path / "model"
    task = TaskData("answer", data, weights=LossWeights(0, 0, 1))
    tune(data, model, tiny_v2, total_steps=150, learning_rate=0.005, batch=9, tasks=[task])
    command = [sys.executable, "-m", "cli", "train", "evaluate", str(data), "--task", "answer"]
    with serving(model, tmp_path / "server") as server:
        found = subprocess.run(
            [*command, "--server", server.url], cwd=ROOT, capture_output=True, text=True, check=False
        )
        reply = server.client.post("/v1/answer", json={"question": "сколько будет два и два"})
    assert reply.json()["answer"] == "четыре"
    assert "answer: 9 of 9 right" in found.stdout, found.stdout + found.stderr
