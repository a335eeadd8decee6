"""The loaded bundle: everything that a task needs, in one place.

Knows its parts and the sizes that follow from them; does nothing itself.
"""

from dataclasses import dataclass

import torch

from model.config import ModelConfig
from model.image_tokenizer import ImageTokenizer
from model.text_tokenizer import TextTokenizer
from model.transformer import Transformer


@dataclass(frozen=True, eq=False)
class Rudolph:
    """A checkpoint, ready on its device."""

    config: ModelConfig
    transformer: Transformer
    text_tokenizer: TextTokenizer
    image_tokenizer: ImageTokenizer
    device: torch.device
    dtype: torch.dtype
    """The transformer's; the image tokenizer's parts have their own."""
    name: str
    revision: str
    """Short SHA-256 over the weight and vocabulary files: equal revisions draw equal pictures."""
    tasks: frozenset[str]
    """Capabilities beyond the tasks of every checkpoint, e.g. `answer`."""

    @property
    def input_side(self) -> int:
        """Side in pixels of the square that is encoded."""
        return self.config.image_width * self.image_tokenizer.config.downsampling

    @property
    def output_side(self) -> int:
        """Side in pixels of the pictures that are drawn."""
        return self.config.image_width * self.image_tokenizer.config.upsampling
