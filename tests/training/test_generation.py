"""generation_config.json of a fine-tuned checkpoint."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from app.bodies import check_body
from app.tasks import TASKS
from jobs.contract.requests import Task
from model.config import SamplingDefaults
from model.files.generation_config import read_generation_config
from training.data import Example
from training.data.examples import FileImage
from training.generation import example_bodies, write_generation_config
from training.tasks import TASKS as TRAINED
from training.tasks import TaskName


def _examples(folder: Path) -> list[Example]:
    Image.new("RGB", (400, 200), "red").save(folder / "0.png")
    image = FileImage(folder / "0.png")
    texts = ["красный круг", "красный круг", "две\nстроки", "д" * 300, *(f"круг {i}" for i in range(9))]
    return [Example(image, text, f"{index}", question="какой цвет") for index, text in enumerate(texts)]


def test_settings_of_the_start_stay_and_examples_are_those_of_the_data(tmp_path: Path) -> None:
    start, output = tmp_path / "start", tmp_path / "output"
    start.mkdir()
    output.mkdir()
    source = '{"text2image": {"temperature": 0.5}, "examples": {"text2image": [{"prompt": "сова"}]}}'
    (start / "generation_config.json").write_text(source, encoding="utf-8")
    write_generation_config(output, start, example_bodies("draw", _examples(tmp_path)))
    written = read_generation_config(output)
    assert written.sampling == {"text2image": SamplingDefaults(0.5, None, None)}
    prompts = [body["prompt"] for body in written.examples["text2image"]]
    assert prompts == ["красный круг", *(f"круг {i}" for i in range(5))]


def test_a_start_without_the_file_has_the_published_settings(tmp_path: Path) -> None:
    write_generation_config(tmp_path, tmp_path / "nothing", {"text2image": [{"prompt": "кот"}]})
    written = read_generation_config(tmp_path)
    assert written.sampling == {}
    assert written.examples == {"text2image": [{"prompt": "кот"}]}


@pytest.mark.parametrize("task", TRAINED)
def test_examples_of_every_task_are_requests_that_its_route_takes(task: TaskName, tmp_path: Path) -> None:
    bodies = example_bodies(task, _examples(tmp_path))
    assert bodies
    for served, examples in bodies.items():
        for body in examples:
            check_body(TASKS[Task(served)].body, json.loads(json.dumps(body)))
            if "image" in body:
                data = base64.b64decode(body["image"].partition(",")[2])
                assert Image.open(io.BytesIO(data)).size == (96, 48)
