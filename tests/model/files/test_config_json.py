import json

import pytest

from model.config import PRESETS, ModelConfig, VqganConfig
from model.files.config_json import CheckpointConfig, ConfigError, dump_config, parse_config


@pytest.fixture
def document(tiny_v2):
    return json.loads((tiny_v2 / "config.json").read_text())


def test_official_fields_are_understood(document):
    config = parse_config(document)
    assert config.model == ModelConfig(8, 64, 4, 16, 4, 16, 3, 5, 168, 64, 8, 8)
    assert config.vqgan == VqganConfig(64, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,))
    assert (config.name, config.tasks) == (None, frozenset())


@pytest.mark.parametrize("preset", ["350M", "350M-v2", "1.3B", "2.7B"])
def test_parameters_of_the_published_package_give_the_preset(manifests, preset):
    parameters = json.loads((manifests / f"{preset}.json").read_text())["model_params"]
    assert parse_config(parameters).model == PRESETS[preset].config


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_written_is_read_back_equal(preset):
    published = PRESETS[preset]
    config = CheckpointConfig(
        published.config, VqganConfig(dwt=True, num_groups=16), "имя", frozenset({"answer"})
    )
    assert parse_config(json.loads(json.dumps(dump_config(config)))) == config
    bare = CheckpointConfig(published.config)
    assert parse_config(dump_config(bare)) == bare


def test_special_tokens_are_absent_in_the_first_generation(document):
    del document["text_special_tokens"], document["image_special_tokens"]
    assert parse_config(document).model.generation == 1


def test_extra_tasks_and_a_name_are_kept(document):
    config = parse_config(document | {"name": "тест", "tasks": ["answer"]})
    assert (config.name, config.tasks) == ("тест", {"answer"})


@pytest.mark.parametrize(
    "field",
    ["num_layers", "hidden_size", "num_attention_heads", "vocab_size", "image_vocab_size", "kernel_size"],
)
def test_missing_field_is_named(document, field):
    del document[field]
    with pytest.raises(ConfigError, match=f"{field} is missing"):
        parse_config(document)


@pytest.mark.parametrize("field", ["ch_mult", "n_embed", "attn_resolutions"])
def test_missing_field_of_the_image_tokenizer_is_named(document, field):
    del document["vae"][field]
    with pytest.raises(ConfigError, match=f"vae.{field} is missing"):
        parse_config(document)


def test_unknown_fields_are_logged_and_ignored(document, caplog):
    known = parse_config(document)
    assert parse_config(document | {"num_experts": 8}) == known
    assert "unknown field num_experts" in caplog.text
    document["vae"] |= {"dropout": 0, "out_ch": 3}
    assert parse_config(document) == known
    assert "unknown fields vae.dropout, vae.out_ch" in caplog.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_layers", 0),
        ("num_layers", "8"),
        ("num_layers", 8.0),
        ("num_layers", True),
        ("num_layers", None),
        ("text_special_tokens", -1),
        ("hidden_size", 66),
        ("vocab_size", 16),
        ("model_type", "gpt2"),
        ("cogview_sandwich_layernorm", False),
        ("mlp_activation", "relu"),
        ("name", ""),
        ("name", 7),
        ("tasks", "answer"),
        ("tasks", ["dance"]),
        ("tasks", [["answer"]]),
        ("vae", []),
    ],
)
def test_impossible_value_is_refused_by_its_name(document, field, value):
    with pytest.raises(ConfigError, match=field):
        parse_config(document | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("ch_mult", [1, "2"]), ("ch_mult", 4), ("attn_resolutions", [0]), ("dwt", 1), ("num_groups", 0)],
)
def test_impossible_value_of_the_image_tokenizer_is_refused_by_its_name(document, field, value):
    document["vae"][field] = value
    with pytest.raises(ConfigError, match=f"vae.{field}"):
        parse_config(document)


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_anything_but_an_object_is_refused(document):
    with pytest.raises(ConfigError, match="object"):
        parse_config(document)
