"""The layers of a network in few kernels: the library's products, everything else in Triton.

Knows the weights and the order of the kernels; the caller computes attention. A layer is eight kernels: the
fused query-key-value product, attention, its product, norm-add-norm, product with GELU (two where the
library cannot fuse them), product, norm-add-norm. The reference is `SparseStack`.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.backends.cuda.triton_norm import (
    EmbeddingTables,
    TokensAt,
    TokensFrom,
    add_and_norm,
    embed_and_norm,
)
from model.network.blocks import Block
from model.network.transformer import Transformer

DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32})
"""Number formats that the kernels take."""

GELU_TOLERANCE = 2e-4
"""tanh- and erf-GELU differ by up to 4.7e-4; float16 rounds their negative values by 6e-5 at most."""

Attend = Callable[[int, Tensor], Tensor]
"""(layer, fused query-key-value) → context, of shapes (rows, 3 · hidden) and (rows, hidden)."""


class FusedLayers:
    """The layers and the head of one network. Its weights may be changed in place afterwards, but not
    replaced."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self.config = transformer.config
        self.blocks = [cast(Block, block) for block in transformer.transformer.layers]
        self.head_norm = cast(nn.LayerNorm, transformer.to_logits[0])
        self.head_linear = cast(nn.Linear, transformer.to_logits[1])
        self.tables = EmbeddingTables(
            text=transformer.text_embeddings.weight,
            image=transformer.image_embeddings.weight,
            left=transformer.l_text_pos_embeddings.weight,
            right=transformer.r_text_pos_embeddings.weight,
            row=transformer.image_row_embeddings.weight,
            column=transformer.image_col_embeddings.weight,
        )
        self._fuses_gelu = _library_fuses_gelu(self.blocks[0].mlp.dense_h_to_4h)

    def run(self, tokens: TokensAt | TokensFrom, rows: int, attend: Attend) -> tuple[Tensor, Tensor]:
        """Run `rows` tokens through all layers.

        Returns the hidden states, float32, and the input of the head's product, in the weights' dtype, both
        of shape (rows, hidden).
        """
        weight = self.tables.text
        residual = torch.empty(rows, self.config.hidden_size, dtype=torch.float32, device=weight.device)
        normed = torch.empty_like(residual, dtype=weight.dtype)
        embed_and_norm(tokens, self.tables, self.blocks[0].input_layernorm, self.config, residual, normed)
        for layer, block in enumerate(self.blocks):
            context = attend(layer, block.attention.query_key_value(normed))
            add_and_norm(
                block.attention.dense(context),
                residual,
                block.before_first_addition_layernorm,
                block.post_attention_layernorm,
                normed,
                clamp=True,
            )
            branch = block.mlp.dense_4h_to_h(self._up_with_gelu(block.mlp.dense_h_to_4h, normed))
            add_and_norm(
                branch,
                residual,
                block.before_second_addition_layernorm,
                self.norm_after(layer),
                normed,
                last=self.head_norm if layer == len(self.blocks) - 1 else None,
            )
        return residual, normed

    def image_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        """Return logits over the first `width` image codes (None: all), from the second result of `run`."""
        start = self.config.text_vocab_size
        return self._head(hidden, start, self.config.image_vocab_size if width is None else width)

    def text_logits(self, hidden: Tensor, width: int | None = None) -> Tensor:
        """Return logits over the first `width` text ids (None: all), from the second result of `run`."""
        return self._head(hidden, 0, self.config.text_vocab_size if width is None else width)

    def _head(self, normed: Tensor, start: int, width: int) -> Tensor:
        linear = self.head_linear
        columns = slice(start, start + width)
        return functional.linear(normed, linear.weight[columns], linear.bias[columns])

    def norm_after(self, layer: int) -> nn.LayerNorm:
        """Return the LayerNorm that reads the residual after a layer."""
        following = layer + 1
        if following == len(self.blocks):
            return self._transformer.transformer.final_layernorm
        return self.blocks[following].input_layernorm

    def _up_with_gelu(self, linear: nn.Linear, x: Tensor) -> Tensor:
        if self._fuses_gelu:
            return _gelu_product(linear.bias, x, linear.weight)
        return functional.gelu(linear(x), approximate="tanh")


def _library_fuses_gelu(linear: nn.Linear) -> bool:
    """Whether cuBLASLt's epilogue exists and is the tanh-GELU, tried at batch 1 and 16."""
    if not linear.weight.is_cuda or not hasattr(torch, "_addmm_activation"):
        return False
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        wide, narrow = linear.weight.shape

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(linear.weight)

        # Scaled so that many values are where the two formulas differ most.
        weight, bias = random(wide, narrow) * 2 * narrow**-0.5, random(wide)
        for rows in (1, 16):
            x = random(rows, narrow)
            inner = functional.linear(x.float(), weight.float(), bias.float())
            expected = functional.gelu(inner, approximate="tanh")
            try:
                got = _gelu_product(bias, x, weight).float()
            except RuntimeError:
                return False
            if (got - expected)[expected < 0].abs().max() > GELU_TOLERANCE:
                return False
    return True


def _gelu_product(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    # Not a public name of torch; `_library_fuses_gelu` has checked that it exists and is right.
    return torch._addmm_activation(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        bias, x, weight.t(), use_gelu=True
    )
