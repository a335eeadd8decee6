"""config.json of a checkpoint folder: the official field names to `ModelConfig` and `VqganConfig`, and back.

Knows field names and their meaning; opens no files.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.config import ModelConfig, VqganConfig

_log = logging.getLogger(__name__)

MODEL_TYPE = "rudolph"
TASKS = frozenset({"answer"})
"""Capabilities that a checkpoint may claim beyond the tasks that every checkpoint has."""


class ConfigError(ValueError):
    """A config.json that is refused; the message names the field."""


@dataclass(frozen=True)
class CheckpointConfig:
    """What config.json says."""

    model: ModelConfig
    vqgan: VqganConfig | None = None
    """None where the file does not describe the image tokenizer: then it has the published sizes."""
    name: str | None = None
    tasks: frozenset[str] = field(default_factory=frozenset[str])


# Official name → field of ModelConfig.
_MODEL_FIELDS = {
    "num_layers": "num_layers",
    "hidden_size": "hidden_size",
    "num_attention_heads": "num_heads",
    "l_text_seq_length": "left_text_length",
    "image_tokens_per_dim": "image_width",
    "r_text_seq_length": "right_text_length",
    "kernel_size": "kernel_size",
    "last_kernel_size": "last_kernel_size",
    "image_vocab_size": "image_codebook_size",
}
# Absent from first-generation files.
_SPECIAL_TOKEN_FIELDS = ("text_special_tokens", "image_special_tokens")
_VQGAN_FIELDS = {
    "embed_dim": "embed_dim",
    "z_channels": "z_channels",
    "resolution": "resolution",
    "ch": "channels",
    "num_res_blocks": "num_res_blocks",
    "n_embed": "codebook_size",
}
_VQGAN_LISTS = {"ch_mult": "channel_multipliers", "attn_resolutions": "attention_resolutions"}
# Training settings and values that do not change a result.
_IGNORED_FIELDS = frozenset(
    {
        "cogview_pb_relax",
        "embedding_dropout_prob",
        "output_dropout_prob",
        "attention_dropout_prob",
        "is_bool_mask",
        "gradient_checkpointing",
    }
)
_KNOWN_FIELDS = (
    frozenset(
        {
            "model_type",
            "vocab_size",
            "cogview_sandwich_layernorm",
            "mlp_activation",
            "vae",
            "name",
            "tasks",
            *_MODEL_FIELDS,
            *_SPECIAL_TOKEN_FIELDS,
        }
    )
    | _IGNORED_FIELDS
)
_KNOWN_VQGAN_FIELDS = frozenset({"dwt", "num_groups", *_VQGAN_FIELDS, *_VQGAN_LISTS})


def parse_config(document: Any) -> CheckpointConfig:
    """Read a decoded config.json.

    Raises ConfigError naming the field that is missing, of the wrong type or impossible. Unknown
    fields are logged and ignored.
    """
    source = _mapping(document, "config.json")
    _report_unknown(source, _KNOWN_FIELDS, "")
    _expect(source, "model_type", {MODEL_TYPE})
    _expect(source, "cogview_sandwich_layernorm", {True})
    _expect(source, "mlp_activation", {"gelu", "gelu_jit"})
    sizes = {ours: _whole(source, official) for official, ours in _MODEL_FIELDS.items()}
    for name in _SPECIAL_TOKEN_FIELDS:
        sizes[name] = _whole(source, name, minimum=0) if name in source else 0
    # The file counts the left text's pad tokens, but no special tokens, among the vocabulary.
    sizes["bpe_vocab_size"] = _whole(source, "vocab_size") - sizes["left_text_length"]
    model = ModelConfig(**sizes)
    _check_model(model)
    return CheckpointConfig(
        model=model,
        vqgan=_parse_vqgan(source["vae"]) if "vae" in source else None,
        name=_parse_name(source),
        tasks=_parse_tasks(source),
    )


def dump_config(config: CheckpointConfig) -> dict[str, Any]:
    """The document that `parse_config` reads back to an equal `CheckpointConfig`."""
    model, vqgan = config.model, config.vqgan
    document: dict[str, Any] = {"model_type": MODEL_TYPE}
    if config.name is not None:
        document["name"] = config.name
    if config.tasks:
        document["tasks"] = sorted(config.tasks)
    document |= {official: getattr(model, ours) for official, ours in _MODEL_FIELDS.items()}
    document |= {name: getattr(model, name) for name in _SPECIAL_TOKEN_FIELDS}
    document["vocab_size"] = model.bpe_vocab_size + model.left_text_length
    document["cogview_sandwich_layernorm"] = True
    if vqgan is not None:
        vae: dict[str, Any] = {official: getattr(vqgan, ours) for official, ours in _VQGAN_FIELDS.items()}
        vae |= {official: list(getattr(vqgan, ours)) for official, ours in _VQGAN_LISTS.items()}
        document["vae"] = vae | {"dwt": vqgan.dwt, "num_groups": vqgan.num_groups}
    return document


def _parse_vqgan(value: Any) -> VqganConfig:
    source = _mapping(value, "vae")
    _report_unknown(source, _KNOWN_VQGAN_FIELDS, "vae.")
    sizes: dict[str, Any] = {ours: _whole(source, name, "vae.") for name, ours in _VQGAN_FIELDS.items()}
    for official, ours in _VQGAN_LISTS.items():
        items = _required(source, official, "vae.")
        if not isinstance(items, list) or not all(_is_whole(item, 1) for item in items):
            raise ConfigError(f"vae.{official} must be a list of positive whole numbers")
        sizes[ours] = tuple(items)
    dwt = source.get("dwt", False)
    if not isinstance(dwt, bool):
        raise ConfigError("vae.dwt must be true or false")
    if "num_groups" in source:
        sizes["num_groups"] = _whole(source, "num_groups", "vae.")
    return VqganConfig(**sizes, dwt=dwt)


def _check_model(model: ModelConfig) -> None:
    if model.bpe_vocab_size <= model.left_text_length:
        raise ConfigError("vocab_size must hold the BPE vocabulary and one pad token a left-text position")
    if model.hidden_size % model.num_heads:
        raise ConfigError("hidden_size must be a multiple of num_attention_heads")


def _parse_name(source: Mapping[str, Any]) -> str | None:
    name = source.get("name")
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ConfigError("name must be a text")
    return name


def _parse_tasks(source: Mapping[str, Any]) -> frozenset[str]:
    tasks = source.get("tasks", [])
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise ConfigError("tasks must be a list of texts")
    if unknown := set(tasks) - TASKS:
        raise ConfigError(f"tasks names {', '.join(sorted(unknown))}; known are {', '.join(sorted(TASKS))}")
    return frozenset(tasks)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object")
    return value


def _report_unknown(source: Mapping[str, Any], known: frozenset[str], prefix: str) -> None:
    """Hubs and training scripts add fields of their own; the strict reading of the tensors finds a typo."""
    if unknown := sorted(source.keys() - known):
        names = ", ".join(prefix + name for name in unknown)
        _log.warning(
            "config.json: ignored the unknown %s %s", "field" if len(unknown) == 1 else "fields", names
        )


def _expect(source: Mapping[str, Any], name: str, allowed: set[Any]) -> None:
    if name in source and source[name] not in allowed:
        raise ConfigError(f"{name} is {source[name]!r}; supported: {', '.join(map(repr, sorted(allowed)))}")


def _required(source: Mapping[str, Any], name: str, prefix: str = "") -> Any:
    if name not in source:
        raise ConfigError(f"field {prefix}{name} is missing")
    return source[name]


def _is_whole(value: Any, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _whole(source: Mapping[str, Any], name: str, prefix: str = "", minimum: int = 1) -> int:
    value = _required(source, name, prefix)
    if not _is_whole(value, minimum):
        raise ConfigError(f"{prefix}{name} must be a whole number of at least {minimum}, not {value!r}")
    return value
