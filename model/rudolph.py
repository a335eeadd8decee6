"""A loaded checkpoint: all parts that a task needs, and the sizes that follow from them."""

from dataclasses import dataclass, field

import torch

from model.config import GenerationConfig, ModelConfig
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from model.text_tokenizer import TextTokenizer


@dataclass(frozen=True, eq=False)
class Rudolph:
    """A checkpoint on its device."""

    config: ModelConfig
    transformer: Transformer
    text_tokenizer: TextTokenizer
    image_tokenizer: ImageTokenizer
    device: torch.device
    dtype: torch.dtype
    """Number format of the transformer. The parts of the image tokenizer have their own."""
    name: str
    revision: str
    """Short SHA-256 over the weight and vocabulary files: equal revisions have equal probabilities."""
    tasks: frozenset[str]
    """Tasks that not every checkpoint has, for example `answer`."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """Sampling defaults and examples of the checkpoint."""

    @property
    def input_side(self) -> int:
        """Side in pixels of the square that is encoded."""
        return self.config.image_width * self.image_tokenizer.config.downsampling

    @property
    def output_side(self) -> int:
        """Side in pixels of the images that are drawn."""
        return self.config.image_width * self.image_tokenizer.config.upsampling
