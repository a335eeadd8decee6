"""The transformer with gradients, and with dropout.

The public methods of the network serve: they have no dropout. These functions call the same layers.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from model.network.blocks import Block
from model.network.masks import LayerKind
from model.network.transformer import Transformer


def encode(
    transformer: Transformer, input_ids: Tensor, *, embedding_gradient: float = 1.0, dropout: float = 0.0
) -> Tensor:
    """Return hidden states before the final LayerNorm; shapes (rows, length) → (rows, length, hidden).

    embedding_gradient: factor of the gradients of all embeddings. dropout: of the attention weights, in
    training mode only; `add_dropout` adds the other two places.
    """
    config = transformer.config
    rows, length = input_ids.shape
    masks = {kind: transformer.get_buffer(f"{kind}_mask")[:length, :length] for kind in LayerKind}
    attention_dropout = dropout if transformer.training else 0.0

    def attend(layer: int, fused: Tensor) -> Tensor:
        parts = fused.view(rows, length, 3, config.num_heads, config.head_size)
        query, key, value = (parts[:, :, index].transpose(1, 2) for index in range(3))
        mask = masks[transformer.kinds[layer]]
        context = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=attention_dropout
        )
        return context.transpose(1, 2).reshape(rows, length, -1)

    with _attention(input_ids):
        x = transformer.embed_positions(input_ids, 0)
        if not math.isclose(embedding_gradient, 1.0):
            x = x * embedding_gradient + x.detach() * (1.0 - embedding_gradient)
        for layer, block in enumerate(transformer.transformer.layers):
            x = block(x, layer, attend)
    return x


def text_logits(transformer: Transformer, hidden: Tensor) -> Tensor:
    """Return logits over all text ids, from hidden states of shape (…, hidden)."""
    return transformer.text_logits(hidden)


def image_logits(transformer: Transformer, hidden: Tensor) -> Tensor:
    """Return logits over all image codes, from hidden states of shape (…, hidden)."""
    return transformer.image_logits(hidden)


def add_dropout(transformer: Transformer, dropout: float) -> None:
    """Drop outputs of attention and of the feed-forward part in training mode, as the published packages."""

    def drop(module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return functional.dropout(output, dropout, training=module.training)

    for layer in transformer.transformer.layers:
        block = cast(Block, layer)
        block.attention.dense.register_forward_hook(drop)
        block.mlp.register_forward_hook(drop)


def recompute_activations(transformer: Transformer) -> None:
    """Store only the input of each block; the backward pass computes the rest again."""
    table = transformer.text_embeddings.weight

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        # The second computation runs outside `encode`, and must use the same kernel.
        return nullcontext(), _attention(table)

    for block in transformer.transformer.layers:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)


def _attention(like: Tensor) -> AbstractContextManager[object]:
    # On a CPU the backward pass of the fused kernel takes 1.5 times as long as plain products.
    return nullcontext() if like.is_cuda else sdpa_kernel(SDPBackend.MATH)
