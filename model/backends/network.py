"""The passes of a network that prompts and scoring need, as a type."""

from typing import Protocol

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network.cache import KeyValueCache


class Network(Protocol):
    """The part of `Transformer` that prompts and scoring use; its docstrings say what each method does."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def hidden_dtype(self) -> torch.dtype: ...

    def encode(
        self,
        input_ids: Tensor,
        *,
        start: int = 0,
        cache: KeyValueCache | None = None,
        left_slots: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor: ...

    def prefill(
        self, input_ids: Tensor, cache: KeyValueCache, left_slots: Tensor, slots: Tensor, *, start: int = 0
    ) -> Tensor: ...

    def text_logits(self, hidden: Tensor, width: int | None = None) -> Tensor: ...

    def image_logits(self, hidden: Tensor, width: int | None = None) -> Tensor: ...
