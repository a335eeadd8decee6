"""Tasks: what they train, what a checkpoint of them serves, mixtures of them, and their validation."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.contract.job import Job
from jobs.contract.requests import Image2TextRequest, Sampling, Task
from jobs.contract.results import TextsResult
from model.files.checkpoint import load_rudolph
from model.tasks import Prompts
from tests.training.tuning import tune
from training.data import DataError, read_examples
from training.dataset import load_data
from training.encoding import CodeStore, EncodeSettings
from training.generate import greedy_texts
from training.initialization import from_checkpoint
from training.mix import read_mix
from training.sequences import LossWeights, RowBuilder
from training.tasks import TaskData
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session


def test_answers_are_trained_and_the_checkpoint_names_the_task(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    rows = [
        {"image": "0.png", "question": "какой цвет", "answer": "красный"},
        {"question": "сколько", "answer": "два"},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (pictures / "data.jsonl").write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    tune(pictures, out, tiny_v2, "answer", total_steps=60, learning_rate=0.003)
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["tasks"] == ["answer"]
    generation = json.loads((out / "generation_config.json").read_text(encoding="utf-8"))
    assert [body["question"] for body in generation["examples"]["answer"]] == ["какой цвет", "сколько"]
    assert "image" in generation["examples"]["answer"][0]
    lines = (out / "training" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    for name in ("answer_right", "answer_text_right"):
        assert last[name] < first[name] - 0.3, name
    # The tasks and the name of a start are kept by a run for another task.
    (pictures / "data.jsonl").write_text('{"text": "кот"}', encoding="utf-8")
    tune(pictures, tmp_path / "next", out, "text", name="мой")
    tune(pictures, tmp_path / "third", tmp_path / "next", "text")
    config = json.loads((tmp_path / "third" / "config.json").read_text(encoding="utf-8"))
    assert (config["tasks"], config["name"]) == (["answer"], "мой")


def test_a_mix_of_tasks_is_read_from_a_file(pictures: Path, tiny_v2: Path, tmp_path: Path) -> None:
    mix = pictures / "mix.toml"
    mix.write_text(
        '[[task]]\ntask = "caption"\ndata = "data.jsonl"\nshare = 3\n'
        '[[task]]\ntask = "draw"\ndata = "."\nweights = [1, 7, 0]\n',
        encoding="utf-8",
    )
    tune(pictures, tmp_path / "out", tiny_v2, tasks=read_mix(mix))
    line = (tmp_path / "out" / "training" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert {"caption_right", "draw_image"} <= json.loads(line).keys()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[task]]\ntask = "captions"\ndata = "."', "task 1: task must be one of caption"),
        ('[[task]]\ntask = "draw"', "task 1: data must be the path"),
        ('[[task]]\ntask = "draw"\ndata = "."\nshare = 0', "share must be a positive number; got 0"),
        ('[[task]]\ntask = "draw"\ndata = "."\nweights = [1, 2]', "weights must be three numbers"),
        ('[[task]]\ntask = "draw"\ndata = "."\nshares = 1', "unknown field shares"),
        ('[[task]]\ntask = "draw"\ndata = "."\ntext = 1', "text must be a text"),
        (
            '[[task]]\ntask = "draw"\ndata = "."\nweights = [0, 0, 7]\n'
            '[[task]]\ntask = "draw"\ndata = "."\nweights = [0, 0, 1]',
            "all tables of one task must have the same weights",
        ),
        ("task = 1", r"a table \[\[task\]\]"),
        ("[[task", "not valid TOML"),
    ],
)
def test_a_fault_in_a_mix_names_the_table_and_the_field(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "mix.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        read_mix(tmp_path / "mix.toml")


def test_no_image_is_on_both_sides_of_a_held_out_share(pictures: Path, tiny_v2: Path, tmp_path: Path) -> None:
    rows = [
        {"image": f"{number}.png", "text": f"{text} {number}"}
        for number in range(8)
        for text in ("круг", "ещё круг")
    ]
    (pictures / "data.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = load_data(
        [TaskData("caption", pictures)],
        from_checkpoint(tiny_v2, None),
        CodeStore(tmp_path / "codes", []),
        EncodeSettings(32),
        validate=0.4,
        device=torch.device("cpu"),
        report=lambda _line: None,
    )
    sides = [
        {example.text.split()[-1] for source in part for example in source.examples}
        for part in (data.training, data.validation)
    ]
    assert sides[0] | sides[1] == {str(number) for number in range(8)}
    assert not sides[0] & sides[1]
    assert sides[1]


@pytest.mark.parametrize("generation", ["tiny_v1", "tiny_v2"])
def test_texts_of_validation_are_those_that_the_server_writes(
    generation: str, pictures: Path, request: pytest.FixtureRequest
) -> None:
    rudolph = load_rudolph(request.getfixturevalue(generation), dtype="float32")
    examples = read_examples(pictures)[:3]
    codes = rudolph.image_tokenizer.encode(torch.stack([e.pixels(rudolph.input_side) for e in examples]))
    builder = RowBuilder(rudolph.config, rudolph.text_tokenizer)
    rows = builder.image_to_text(["кот", "дом", "рыба"], codes, LossWeights())
    prompts = Prompts(rudolph.config, rudolph.text_tokenizer)
    found = greedy_texts(rudolph.transformer, prompts, rows, len(prompts.image2text_right()))

    session = Session(rudolph, EngineSettings(num_slots=3))
    for index, example in enumerate(examples):
        greedy = Image2TextRequest(example.read(), seed=1, sampling=Sampling(1.0, 1, 1.0))
        session.submit(Job(str(index), Task.IMAGE2TEXT, greedy))
    served: dict[str, str] = {}
    while session.has_work:
        for event in session.step().events:
            if isinstance(event, Finished):
                assert isinstance(event.outcome, TextsResult)
                served[event.job_id] = event.outcome.texts[0].text
    session.close()
    assert found == [served[str(index)] for index in range(3)]


def test_validation_measures_held_out_examples_and_none_of_them_is_trained(
    pictures: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"validate": 0.4, "validate_every": 3, "total_steps": 6}
    said = tune(pictures, tmp_path / "out", tiny_v2, "caption", **settings)
    assert said.count(": validation loss") == 2
    assert "exact_caption" in said
    run = json.loads((tmp_path / "out" / "training" / "run.json").read_text(encoding="utf-8"))
    trained, held_out = run["data"].split(" held out")[0].split("; ")
    assert int(trained.split()[0]) + int(held_out) == 8
    assert 1 <= int(held_out) < 8
    shown = run["examples"]["image2text"]
    assert len(shown) == 2
    assert all(body["image"].startswith("data:image/webp;base64,") for body in shown)
