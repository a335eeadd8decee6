"""generation_config.json: what it says, and what is refused with the field's name."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from model.config import GenerationConfig, SamplingDefaults
from model.files.checkpoint import CheckpointError, load_rudolph
from model.files.generation_config import parse_generation_config, read_generation_config

OWN = {"text2image": {"temperature": 0.5, "top_k": 64, "top_p": 0.9}}


def test_a_section_holds_for_its_task_alone() -> None:
    read = parse_generation_config(OWN | {"image2text": {"temperature": 0.25}})
    assert read.sampling == {
        "text2image": SamplingDefaults(0.5, 64, 0.9),
        "image2text": SamplingDefaults(0.25, None, None),
    }


def test_the_top_level_holds_for_every_task_and_a_section_overrides_it() -> None:
    read = parse_generation_config(
        {"temperature": 0.7, "top_k": 50, "text2image": {"top_k": 0, "min_p": 0.1}}
    )
    assert read.sampling["text2image"] == SamplingDefaults(0.7, 0, None, 0.1)
    assert read.sampling["image2text"] == read.sampling["text2text"] == SamplingDefaults(0.7, 50, None)


def test_without_sampling_the_likeliest_token_is_taken() -> None:
    read = parse_generation_config({"do_sample": False, "top_k": 50, "text2image": {"do_sample": True}})
    assert read.sampling["image2text"].top_k == 1
    assert read.sampling["text2image"].top_k == 50


def test_the_temperature_of_probabilities_is_that_of_its_section_alone() -> None:
    read = parse_generation_config({"temperature": 0.7, "classify": {"temperature": 0.3}, "rank_texts": {}})
    assert read.probability_temperature == {"classify": 0.3}
    assert "classify" not in read.sampling


def test_examples_are_request_bodies() -> None:
    examples = {"text2image": [{"prompt": "сова"}], "classify": [{"classes": ["кот", "дом"]}]}
    assert parse_generation_config({"examples": examples}).examples == examples


def test_fields_of_transformers_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    fields = {"transformers_version": "4.57.0", "eos_token_id": 3, "_from_model_config": True}
    assert parse_generation_config(fields) == GenerationConfig()
    assert not caplog.records
    assert parse_generation_config({"typical_p": 0.1}) == GenerationConfig()
    assert "typical_p" in caplog.text


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "The file must be an object"),
        ({"temperature": 0}, "temperature must be a number from 0.01 to 10"),
        ({"temperature": True}, "temperature must be a number from 0.01 to 10"),
        ({"temperature": math.nan}, "temperature must be a number from 0.01 to 10"),
        ({"text2image": {"temperature": "0.5"}}, "text2image.temperature must be a number from 0.01 to 10"),
        ({"text2image": {"min_p": -0.1}}, "text2image.min_p must be a number from 0 to 1"),
        ({"text2image": {"top_p": 1.5}}, "text2image.top_p must be a number from 0 to 1"),
        ({"image2text": {"top_k": -1}}, "image2text.top_k must be an integer from 0 to 65536"),
        ({"image2text": {"top_k": 1.5}}, "image2text.top_k must be an integer from 0 to 65536"),
        ({"text2text": {"do_sample": "yes"}}, "text2text.do_sample must be true or false"),
        ({"text2text": {"temperatur": 1}}, "text2text.temperatur is unknown"),
        ({"classify": {"temperature": 0}}, "classify.temperature must be a number from 0.01 to 10"),
        ({"classify": {"top_k": 5}}, "classify.top_k is unknown. The section may have temperature."),
        ({"text2text": 1}, "text2text must be an object"),
        ({"text2imag": {"top_k": 1}}, "text2imag is not a section"),
        ({"examples": []}, "examples must be an object"),
        ({"examples": {"draw": []}}, "examples.draw is not a task"),
        ({"examples": {"text2image": ["сова"]}}, "examples.text2image must be a list of request bodies"),
        ({"examples": {"text2image": [{"prompt": "с" * 40_000}]}}, "at most 65536 are possible"),
    ],
)
def test_a_fault_names_file_and_field(document: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        read_generation_config(tmp_path)
    assert str(caught.value).startswith("generation_config.json: ")
    assert words in str(caught.value)


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"generation_config\.json is not valid JSON"):
        read_generation_config(tmp_path)


def test_the_file_can_be_switched_off_or_replaced(folder: Path, tmp_path: Path) -> None:
    assert load_rudolph(folder, dtype="float32").generation == GenerationConfig()
    (folder / "generation_config.json").write_text(json.dumps(OWN), encoding="utf-8")
    own = load_rudolph(folder, dtype="float32")
    assert own.generation.sampling == {"text2image": SamplingDefaults(0.5, 64, 0.9)}
    switched_off = load_rudolph(folder, dtype="float32", generation_config="none")
    assert switched_off.generation == GenerationConfig()
    assert switched_off.revision == own.revision
    other = tmp_path / "other.json"
    other.write_text('{"text2text": {"top_k": 3}}', encoding="utf-8")
    expected = {"text2text": SamplingDefaults(None, 3, None)}
    assert read_generation_config(folder, str(other)).sampling == expected
    with pytest.raises(CheckpointError, match="--generation-config must be auto, none or the path"):
        read_generation_config(folder, str(tmp_path / "missing.json"))
