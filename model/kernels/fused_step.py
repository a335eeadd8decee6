"""One decode step of the whole network in few kernels: products of the library's, everything else in Triton.

Knows the transformer's weights and the kernels; no graphs and no slots' owners. A layer is eight kernels: the
fused query-key-value product, attention, its product, norm-add-norm, product with GELU (two where the library
cannot do both at once), product, norm-add-norm. The measure is `Transformer.decode`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.kernels.triton_attention import AttentionTuning, attend
from model.kernels.triton_norm import EmbeddingTables, add_and_norm, embed_and_norm
from model.kv_cache import KeyValueCache

if TYPE_CHECKING:
    from model.blocks import Block
    from model.transformer import Transformer

GELU_TOLERANCE = 2e-4
"""tanh- and erf-GELU differ by up to 4.7e-4; float16 rounds their negative values by 6e-5 at most."""


@dataclass(frozen=True)
class StepRows:
    """Which token each row reads; all int64 on the device, in any order of segments.

    `tokens`: shape = (slots, total_length), row n reads [slots[n], positions[n]]; `positions` (absolute),
    `left_slots`, `slots`: shape = (rows,).
    """

    tokens: Tensor
    positions: Tensor
    left_slots: Tensor
    slots: Tensor


class FusedStep:
    """Decode steps of one transformer. Its weights must not be replaced afterwards, only changed in place."""

    def __init__(self, transformer: "Transformer", tuning: AttentionTuning | None = None) -> None:
        self._transformer = transformer
        self._config = transformer.config
        self._tuning = tuning or AttentionTuning()
        self._blocks = [cast("Block", block) for block in transformer.transformer.layers]
        self._head_norm = cast(nn.LayerNorm, transformer.to_logits[0])
        self._head_linear = cast(nn.Linear, transformer.to_logits[1])
        self._cells = [
            transformer.get_buffer(f"{kind}_cells").to(torch.int32).contiguous() for kind in transformer.kinds
        ]
        self._tables = EmbeddingTables(
            text=transformer.text_embeddings.weight,
            image=transformer.image_embeddings.weight,
            left=transformer.l_text_pos_embeddings.weight,
            right=transformer.r_text_pos_embeddings.weight,
            row=transformer.image_row_embeddings.weight,
            column=transformer.image_col_embeddings.weight,
        )
        self._fuses_gelu = _library_fuses_gelu(self._blocks[0].mlp.dense_h_to_4h)

    @torch.inference_mode()
    def hidden(self, rows: StepRows, cache: KeyValueCache) -> tuple[Tensor, Tensor]:
        """Run one token of every row through all layers; its keys and values go into the cache.

        Returns the hidden states, float32, and what the head's product takes, in the weights' dtype, both of
        shape (rows, hidden).
        """
        config, transformer = self._config, self._transformer
        weight = self._tables.text
        shape = (rows.slots.shape[0], config.hidden_size)
        residual = torch.empty(shape, dtype=torch.float32, device=weight.device)
        normed = torch.empty(shape, dtype=weight.dtype, device=weight.device)
        first = self._blocks[0].input_layernorm
        embed_and_norm(rows.tokens, rows.slots, rows.positions, self._tables, first, config, residual, normed)
        for layer, block in enumerate(self._blocks):
            fused = block.attention.query_key_value(normed)
            context = attend(
                fused,
                cache.left[layer],
                cache.body[layer],
                rows.positions,
                rows.left_slots,
                rows.slots,
                self._cells[layer],
                config,
                self._tuning,
            )
            add_and_norm(
                block.attention.dense(context),
                residual,
                block.before_first_addition_layernorm,
                block.post_attention_layernorm,
                normed,
                clamp=True,
            )
            branch = block.mlp.dense_4h_to_h(self._widen(block.mlp.dense_h_to_4h, normed))
            is_last = layer == len(self._blocks) - 1
            add_and_norm(
                branch,
                residual,
                block.before_second_addition_layernorm,
                transformer.transformer.final_layernorm
                if is_last
                else self._blocks[layer + 1].input_layernorm,
                normed,
                last=self._head_norm if is_last else None,
            )
        return residual, normed

    @torch.inference_mode()
    def image_logits(self, normed: Tensor, width: int) -> Tensor:
        """Logits over the first `width` image codes, from the second result of `hidden`."""
        return self._head(normed, self._config.text_vocab_size, width)

    @torch.inference_mode()
    def text_logits(self, normed: Tensor, width: int) -> Tensor:
        """Logits over the first `width` text ids, from the second result of `hidden`."""
        return self._head(normed, 0, width)

    def _head(self, normed: Tensor, start: int, width: int) -> Tensor:
        linear = self._head_linear
        rows = slice(start, start + width)
        return functional.linear(normed, linear.weight[rows], linear.bias[rows])

    def _widen(self, linear: nn.Linear, x: Tensor) -> Tensor:
        if self._fuses_gelu:
            return _gelu_product(linear.bias, x, linear.weight)
        return functional.gelu(linear(x), approximate="tanh")


def _library_fuses_gelu(linear: nn.Linear) -> bool:
    """Whether cuBLASLt's epilogue is there and is the tanh-GELU, at batch 1 and 16: tried, not assumed."""
    if not linear.weight.is_cuda or not hasattr(torch, "_addmm_activation"):
        return False
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        wide, narrow = linear.weight.shape

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(linear.weight)

        # Spread so that many values lie where the two formulas differ most.
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
    # Not a public name of torch; `_library_fuses_gelu` has seen to it that it is there and right.
    return torch._addmm_activation(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        bias, x, weight.t(), use_gelu=True
    )
