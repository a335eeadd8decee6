"""Architecture of a RuDOLPH checkpoint: sizes, vocabularies, generation, and the published presets.

Knows plain values only: no tensors, no files. Facts from the `rudolph` packages 0.0.1rc8 and 0.0.1rc10 and
from the official checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

PAD_ID = 0
UNK_ID = 1
BOS_ID = 2
EOS_ID = 3


class TaskToken(IntEnum):
    """Second-generation task tokens, as offsets above the BPE vocabulary."""

    LT_UNK = 0
    RT_UNK = 1
    LT_T2I = 2
    LT_I2T = 3
    LT_T2T = 4
    RT_I2T = 5
    # The rest was added for the FBC2 checkpoint: text and math questions, questions about a picture,
    # captions, pictures, and text recognition.
    LT_TQA = 6
    RT_TQA = 7
    LT_MQA = 8
    RT_MQA = 9
    LT_VQA = 10
    RT_VQA = 11
    LT_CAP = 12
    RT_CAP = 13
    LT_GEN = 14
    LT_REC = 15
    RT_REC = 16


def _setting(kind: type[float] | type[int], low: float, high: float) -> Any:
    return field(default=None, metadata={"kind": kind, "low": low, "high": high})


@dataclass(frozen=True)
class SamplingDefaults:
    """Default sampling settings of one task; None: the published value."""

    temperature: float | None = _setting(float, 0.01, 10)
    top_k: int | None = _setting(int, 0, 65_536)
    top_p: float | None = _setting(float, 0, 1)
    min_p: float | None = _setting(float, 0, 1)


@dataclass(frozen=True)
class GenerationConfig:
    """Contents of generation_config.json, by the name of the task."""

    sampling: Mapping[str, SamplingDefaults] = field(default_factory=dict[str, SamplingDefaults])
    examples: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    """Requests for which the checkpoint gives good results, as bodies of the API."""
    probability_temperature: Mapping[str, float] = field(default_factory=dict[str, float])
    """Temperature of the probabilities of candidates, for tasks that score them; 1 where it is missing."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the transformer.

    The sequence is `[left text: left_text_length | image: image_width² | right text: right_text_length]`.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    left_text_length: int
    image_width: int
    right_text_length: int
    kernel_size: int
    last_kernel_size: int
    bpe_vocab_size: int = 16384
    image_codebook_size: int = 8192
    text_special_tokens: int = 0
    image_special_tokens: int = 0

    @property
    def generation(self) -> int:
        """1: no task tokens; 2: a task token after bos."""
        return 2 if self.text_special_tokens else 1

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def image_length(self) -> int:
        return self.image_width**2

    @property
    def image_start(self) -> int:
        """First image position."""
        return self.left_text_length

    @property
    def right_start(self) -> int:
        """First right-text position."""
        return self.left_text_length + self.image_length

    @property
    def total_length(self) -> int:
        return self.left_text_length + self.image_length + self.right_text_length

    @property
    def text_vocab_size(self) -> int:
        """Rows of the text table: BPE ids, task tokens, then one pad token per left-text position."""
        return self.bpe_vocab_size + self.text_special_tokens + self.left_text_length

    @property
    def image_vocab_size(self) -> int:
        """Rows of the image table."""
        return self.image_codebook_size + self.image_special_tokens

    @property
    def vocab_size(self) -> int:
        """Width of the head: text slice, then image slice."""
        return self.text_vocab_size + self.image_vocab_size

    def task_token(self, token: TaskToken) -> int:
        """Return the id of a task token. Only second-generation models have them."""
        if self.generation == 1:
            raise ValueError(f"A first-generation model has no task token {token.name}.")
        return self.bpe_vocab_size + token


@dataclass(frozen=True)
class VqganConfig:
    """Sizes of the image tokenizer (VQGAN with a Gumbel-softmax codebook, taming-transformers layout)."""

    codebook_size: int = 8192
    embed_dim: int = 256
    z_channels: int = 256
    resolution: int = 256
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (32,)
    dwt: bool = False
    num_groups: int = 32
    """Groups of every GroupNorm; the published files have 32."""

    @property
    def downsampling(self) -> int:
        """Pixels per code along a side, in the input of the encoder."""
        return 2 ** (len(self.channel_multipliers) - 1)

    @property
    def upsampling(self) -> int:
        """Pixels per code along a side, in the output of the decoder. The wavelet variant doubles it."""
        return self.downsampling * (2 if self.dwt else 1)


@dataclass(frozen=True)
class Preset:
    """A published checkpoint."""

    config: ModelConfig
    repo_id: str
    filename: str = "pytorch_model.bin"
    tasks: frozenset[str] = field(default_factory=frozenset[str])
    """Tasks that not every checkpoint has, for example `answer`."""


_350M = ModelConfig(24, 1024, 16, 64, 16, 64, 7, 9)
_350M_V2 = ModelConfig(24, 1024, 16, 64, 16, 64, 7, 9, text_special_tokens=384, image_special_tokens=384)
_1_3B = ModelConfig(24, 2048, 16, 128, 32, 128, 9, 11, text_special_tokens=2048, image_special_tokens=64)
_2_7B = ModelConfig(32, 2560, 32, 384, 24, 128, 7, 9, text_special_tokens=1024, image_special_tokens=1024)

PRESETS: dict[str, Preset] = {
    "350M": Preset(_350M, "ai-forever/RuDOLPH-350M"),
    "350M-v2": Preset(_350M_V2, "shonenkov-AI/RuDOLPH-350M-v2"),
    "1.3B": Preset(_1_3B, "ai-forever/RUDOLPH-1.3B"),
    "2.7B": Preset(_2_7B, "ai-forever/RUDOLPH-2.7B"),
    "2.7B-FBC2": Preset(_2_7B, "ai-forever/RUDOLPH-2.7B-FBC2", tasks=frozenset({"answer"})),
}
