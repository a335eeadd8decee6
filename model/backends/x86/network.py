"""The network on the kernels in C: embeddings and the order of the passes in PyTorch, the rest in C."""

from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.backends.x86 import is_available
from model.backends.x86.layers import MAX_HEAD_SIZE, FusedLayers, Layer, float_norm
from model.backends.x86.linear import LANES, PanelLinear, WeightFormat
from model.config import ModelConfig
from model.network.attention import CacheSlots
from model.network.blocks import LAYER_NORM_EPSILON, Block
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.masks import KeyTable, LayerKind
from model.network.transformer import Transformer


def can_run(config: ModelConfig, weight: Tensor) -> bool:
    """Whether the kernels can run a network here; `weight`: any of its weights."""
    fits = config.hidden_size % LANES == 0 and config.head_size <= MAX_HEAD_SIZE
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and fits and is_available()


class X86Network:
    """The passes of `Transformer`, which its docstrings describe; hidden states are float32."""

    hidden_dtype = torch.float32

    def __init__(self, network: Transformer, weight_format: WeightFormat = WeightFormat.AUTO) -> None:
        """Copy the weights of `network` into the layout of the kernels and free them there, layer by layer.

        The embeddings of `network` are used in place. Do not use `network` for anything else.
        """
        self.config = config = network.config
        self._embeddings = network

        def lay_out(linear: nn.Linear, gelu: bool) -> PanelLinear:
            panels = PanelLinear(linear.weight, linear.bias, gelu=gelu, weight_format=weight_format)
            _free(linear)
            return panels

        layers = [Layer.of(cast(Block, block), lay_out) for block in network.transformer.layers]
        tables = {kind: KeyTable(*network.key_table(kind)) for kind in LayerKind}
        self._layers = FusedLayers(config, layers, [tables[kind] for kind in network.kinds])
        # The head is read once a sequence, and its rounding would show in every logit.
        head_format = WeightFormat.AUTO if weight_format is WeightFormat.INT8 else weight_format
        head, text = cast(nn.Linear, network.to_logits[1]), config.text_vocab_size
        weight, bias = head.weight, head.bias
        self._text_head = PanelLinear(weight[:text], bias[:text], weight_format=head_format)
        self._image_head = PanelLinear(weight[text:], bias[text:], weight_format=head_format)
        _free(head)
        norms = (network.transformer.final_layernorm, cast(nn.LayerNorm, network.to_logits[0]))
        self._head_norms = [float_norm(norm) for norm in norms]

    def encode(
        self,
        input_ids: Tensor,
        *,
        start: int = 0,
        cache: KeyValueCache | None = None,
        left_slots: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        past = None
        if start:
            if cache is None or left_slots is None or slots is None:
                raise ValueError("Positions before `start` need a cache and its slots. Give both.")
            count = input_ids.shape[0]
            past = CacheSlots(cache, left_slots.expand(count), slots.expand(count))
        return self._layers.run(self._embeddings.embed_positions(input_ids, start), past, start, write=False)

    @torch.inference_mode()
    def prefill(
        self, input_ids: Tensor, cache: KeyValueCache, left_slots: Tensor, slots: Tensor, *, start: int = 0
    ) -> Tensor:
        x = self._embeddings.embed_positions(input_ids, start)
        return self._layers.run(x, CacheSlots(cache, left_slots, slots), start, write=True)

    @torch.inference_mode()
    def decode(
        self,
        input_ids: Tensor,
        positions: Tensor,
        cache: KeyValueCache,
        left_slots: Tensor,
        slots: Tensor,
        *,
        layout: StepLayout,
        image_slots: Tensor | None = None,
    ) -> Tensor:
        """Do what `Transformer.decode` does.

        `image_slots`: for right-text sequences a slot with the same image as their own; what several name is
        read once.
        """
        x = self._embeddings.embed_tokens(input_ids, positions, layout)
        images = slots if image_slots is None else image_slots
        return self._layers.decode(x, positions, CacheSlots(cache, left_slots, slots), images)

    def text_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        return self._logits(self._text_head, hidden)[..., :width]

    def image_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        return self._logits(self._image_head, hidden)[..., :width]

    def _logits(self, head: PanelLinear, hidden: Tensor) -> Tensor:
        with torch.inference_mode() if hidden.is_inference() else nullcontext():
            for weight, bias in self._head_norms:
                hidden = functional.layer_norm(
                    hidden, (self.config.hidden_size,), weight, bias, LAYER_NORM_EPSILON
                )
            return head(hidden)


def _free(linear: nn.Linear) -> None:
    """Release the weights: a large network does not fit the memory twice."""
    linear.weight.data, linear.bias.data = linear.weight.new_empty(0), linear.bias.new_empty(0)
