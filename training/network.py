"""The transformer with gradients.

The network's own methods are for serving and keep no gradients; training runs the same code beneath.
"""

import inspect
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from model.transformer import Transformer


def encode(transformer: Transformer, input_ids: Tensor) -> Tensor:
    """Hidden states before the final LayerNorm; shapes (rows, length) → (rows, length, hidden)."""
    with _attention(input_ids):
        return inspect.unwrap(Transformer.encode)(transformer, input_ids)


def text_logits(transformer: Transformer, hidden: Tensor) -> Tensor:
    """Logits over all text ids, from hidden states of shape (…, hidden)."""
    return inspect.unwrap(Transformer.text_logits)(transformer, hidden)


def image_logits(transformer: Transformer, hidden: Tensor) -> Tensor:
    """Logits over all image codes, from hidden states of shape (…, hidden)."""
    return inspect.unwrap(Transformer.image_logits)(transformer, hidden)


def recompute_activations(transformer: Transformer) -> None:
    """Keep only each block's input for the way back, and compute the rest anew."""
    table = transformer.text_embeddings.weight

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        # The second time happens outside `encode`, and must choose the same kernel.
        return nullcontext(), _attention(table)

    for block in transformer.transformer.layers:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)


def _attention(like: Tensor) -> AbstractContextManager[object]:
    # On CPU the fused kernel's way back takes half as long again as plain products, at these lengths.
    return nullcontext() if like.is_cuda else sdpa_kernel(SDPBackend.MATH)
