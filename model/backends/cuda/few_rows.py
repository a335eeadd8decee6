"""The layers for up to 16 rows: five kernels a layer, without products of the library.

A layer is: LayerNorms and fused query-key-value product; attention; its product; LayerNorms, product and
GELU; product. The result of a row does not depend on the other rows, nor on their number. The caller
computes attention.
"""

from typing import cast

import torch
from torch import Tensor, nn

from model.backends.cuda.launch import has_tensor_cores
from model.backends.cuda.layers import Attend, FusedLayers
from model.backends.cuda.triton_norm import TokensAt, embed_and_norm
from model.backends.cuda.triton_product import MAX_ROW_BYTES, MAX_ROWS, AddAndNorm, few_rows_product


class FewRows:
    """The layers and the head of one network for a few rows."""

    def __init__(self, layers: FusedLayers) -> None:
        self._layers = layers

    def fits(self, rows: int) -> bool:
        """Return whether this number of rows of the network fits the kernels."""
        weight = self._layers.tables.text
        is_small = rows <= MAX_ROWS and weight.shape[1] * weight.element_size() <= MAX_ROW_BYTES
        return is_small and has_tensor_cores(weight.device)

    def run(self, tokens: TokensAt, rows: int, attend: Attend) -> AddAndNorm:
        """Run `rows` tokens through all layers; return what precedes the head's product."""
        layers = self._layers
        weight = layers.tables.text
        residual, other = (
            torch.empty(rows, layers.config.hidden_size, dtype=torch.float32, device=weight.device)
            for _ in range(2)
        )
        normed = torch.empty_like(residual, dtype=weight.dtype)
        embed_and_norm(
            tokens, layers.tables, layers.blocks[0].input_layernorm, layers.config, residual, normed
        )
        before: Tensor | AddAndNorm = normed
        for layer, block in enumerate(layers.blocks):
            fused = _product(before, block.attention.query_key_value)
            if layer:
                residual, other = other, residual
            branch = _product(attend(layer, fused), block.attention.dense)
            middle = AddAndNorm(
                branch,
                residual,
                other,
                block.before_first_addition_layernorm,
                block.post_attention_layernorm,
                clamp=True,
            )
            inner = _product(middle, block.mlp.dense_h_to_4h, gelu=True)
            residual, other = other, residual
            before = AddAndNorm(
                _product(inner, block.mlp.dense_4h_to_h),
                residual,
                other,
                block.before_second_addition_layernorm,
                layers.norm_after(layer),
                last=layers.head_norm if layer == len(layers.blocks) - 1 else None,
            )
        return cast(AddAndNorm, before)

    def head(self, x: Tensor | AddAndNorm, width: int, *, is_image: bool) -> Tensor:
        """Return logits over the first `width` image codes, or text ids.

        x: the input of the head's product, or what precedes it.
        """
        linear = self._layers.head_linear
        start = self._layers.config.text_vocab_size if is_image else 0
        return few_rows_product(x, linear.weight[start : start + width], linear.bias[start : start + width])


def _product(x: Tensor | AddAndNorm, linear: nn.Linear, *, gelu: bool = False) -> Tensor:
    return few_rows_product(x, linear.weight, linear.bias, gelu=gelu)
