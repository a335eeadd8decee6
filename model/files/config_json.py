"""config.json of a checkpoint folder: the official field names to `ModelConfig` and `VqganConfig`, and back.

Opens no files.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from model.config import ModelConfig, VqganConfig

_log = logging.getLogger(__name__)

MODEL_TYPE = "rudolph"
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

# Ranges far beyond every published model. They bound the time and memory that a file can cost before the
# weights are compared with it.
_Count = Annotated[int, Meta(ge=1, le=512)]
_Width = Annotated[int, Meta(ge=1, le=65_536)]
_Length = Annotated[int, Meta(ge=1, le=4096)]
_Side = Annotated[int, Meta(ge=1, le=64)]
_Vocabulary = Annotated[int, Meta(ge=1, le=1 << 20)]
_Special = Annotated[int, Meta(ge=0, le=65_536)]
_Resolution = Annotated[int, Meta(ge=1, le=8192)]
_Blocks = Annotated[int, Meta(ge=1, le=32)]
_Factors = Annotated[tuple[_Count, ...], Meta(min_length=1, max_length=8)]
_Resolutions = Annotated[tuple[_Resolution, ...], Meta(max_length=8)]

MAX_NAME_CHARACTERS = 100
MAX_CONFIG_BYTES = 1 << 20
MAX_LOGGED_CHARACTERS = 1000
MAX_POSITIONS = 8192
"""The masks have the square of it in bytes."""


class ConfigError(ValueError):
    """A config.json that is refused; the message names the field."""


@dataclass(frozen=True)
class CheckpointConfig:
    """The content of config.json."""

    model: ModelConfig
    vqgan: VqganConfig | None = None
    """None if the file does not describe the image tokenizer, which then has the published sizes."""
    name: str | None = None
    tasks: frozenset[str] = field(default_factory=frozenset[str])
    """Tasks that not every checkpoint has."""


class _Vae(Struct):
    """The field `vae`, by its official names."""

    embed_dim: _Width
    z_channels: _Width
    resolution: _Resolution
    ch: _Width
    num_res_blocks: _Blocks
    n_embed: _Vocabulary
    ch_mult: _Factors
    attn_resolutions: _Resolutions
    dwt: bool = False
    num_groups: _Width = VqganConfig.num_groups


class _Document(Struct):
    """config.json by its official names."""

    num_layers: _Count
    hidden_size: _Width
    num_attention_heads: _Count
    l_text_seq_length: _Length
    image_tokens_per_dim: _Side
    r_text_seq_length: _Length
    kernel_size: _Count
    last_kernel_size: _Count
    vocab_size: _Vocabulary
    image_vocab_size: _Vocabulary
    # Absent from first-generation files.
    text_special_tokens: _Special = 0
    image_special_tokens: _Special = 0
    model_type: Literal["rudolph"] = MODEL_TYPE
    cogview_sandwich_layernorm: bool = True
    mlp_activation: Literal["gelu", "gelu_jit"] = "gelu"
    name: Annotated[str, Meta(pattern=r"\S", max_length=MAX_NAME_CHARACTERS)] | None = None
    tasks: frozenset[Literal["answer"]] = frozenset()
    vae: _Vae | None = None


# Official name → field of ModelConfig or VqganConfig.
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
    "text_special_tokens": "text_special_tokens",
    "image_special_tokens": "image_special_tokens",
}
_VQGAN_FIELDS = {
    "embed_dim": "embed_dim",
    "z_channels": "z_channels",
    "resolution": "resolution",
    "ch": "channels",
    "num_res_blocks": "num_res_blocks",
    "n_embed": "codebook_size",
    "ch_mult": "channel_multipliers",
    "attn_resolutions": "attention_resolutions",
    "dwt": "dwt",
    "num_groups": "num_groups",
}


def parse_config(document: Any) -> CheckpointConfig:
    """Read a decoded config.json.

    Raises ConfigError naming the field that is missing, of the wrong type or impossible. Unknown fields are
    logged and ignored.
    """
    try:
        source = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise ConfigError(_by_field(str(error))) from error
    if source.name is not None and not source.name.isprintable():
        raise ConfigError("name has a character that cannot be printed. Remove it.")
    _log_unknown(document)
    if not source.cogview_sandwich_layernorm:
        raise ConfigError("cogview_sandwich_layernorm must be true. Other architectures are not supported.")
    sizes = {ours: getattr(source, official) for official, ours in _MODEL_FIELDS.items()}
    # The file counts the pad tokens of the left text, but no special tokens, in the vocabulary.
    model = ModelConfig(**sizes, bpe_vocab_size=source.vocab_size - source.l_text_seq_length)
    _check_model(model)
    vqgan = None
    if source.vae is not None:
        vqgan = VqganConfig(**{ours: getattr(source.vae, name) for name, ours in _VQGAN_FIELDS.items()})
    return CheckpointConfig(model, vqgan, source.name, frozenset(source.tasks))


def dump_config(config: CheckpointConfig) -> dict[str, Any]:
    """Return the document that `parse_config` reads back to an equal `CheckpointConfig`."""
    model, vqgan = config.model, config.vqgan
    document: dict[str, Any] = {"model_type": MODEL_TYPE}
    if config.name is not None:
        document["name"] = config.name
    if config.tasks:
        document["tasks"] = sorted(config.tasks)
    document |= {official: getattr(model, ours) for official, ours in _MODEL_FIELDS.items()}
    document["vocab_size"] = model.bpe_vocab_size + model.left_text_length
    document["cogview_sandwich_layernorm"] = True
    if vqgan is not None:
        vae = {official: getattr(vqgan, ours) for official, ours in _VQGAN_FIELDS.items()}
        document["vae"] = vae | {name: list(vae[name]) for name in ("ch_mult", "attn_resolutions")}
    return document


def _by_field(message: str) -> str:
    """Turn the path at the end of a message of msgspec (`… - at `$.vae.ch`) into a field at its start."""
    problem, _, path = message.partition(" - at `$")
    path = path.removeprefix(".").rstrip("`")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", problem):
        return f"The field {'.'.join(filter(None, (path, missing[1])))} is missing. Add it."
    return f"{path or 'The document'}: {problem}. Correct it."


def _check_model(model: ModelConfig) -> None:
    if model.bpe_vocab_size <= model.left_text_length:
        raise ConfigError(
            "vocab_size must be the size of the BPE vocabulary plus l_text_seq_length. Correct it."
        )
    if model.total_length > MAX_POSITIONS:
        raise ConfigError(
            f"l_text_seq_length, image_tokens_per_dim² and r_text_seq_length are {model.total_length} "
            f"positions together. At most {MAX_POSITIONS} are possible."
        )
    if model.hidden_size % model.num_heads:
        raise ConfigError("hidden_size must be a multiple of num_attention_heads. Correct one of them.")


def _log_unknown(document: Mapping[str, Any]) -> None:
    """Log unknown fields. Hubs and training scripts add fields; the check of the tensors finds typos."""
    unknown = sorted(document.keys() - _IGNORED_FIELDS - set(_Document.__struct_fields__))
    vae: Mapping[str, Any] = document.get("vae") or {}
    unknown += sorted(f"vae.{name}" for name in vae.keys() - set(_Vae.__struct_fields__))
    if unknown:
        plural = "field" if len(unknown) == 1 else "fields"
        names = ", ".join(ascii(name)[1:-1] if not name.isprintable() else name for name in unknown)
        _log.warning("config.json: ignored the unknown %s %s", plural, names[:MAX_LOGGED_CHARACTERS])
