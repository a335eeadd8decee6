"""How a decode step is computed: plain PyTorch (the measure), and Triton kernels where a device can run them.

Knows which of the two a device can have. Nothing of Triton is imported before it is asked for.
"""

import importlib.util
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from model.kernels.fused_step import FusedStep
    from model.transformer import Transformer

FUSED_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32})


def has_triton() -> bool:
    """Whether the package is installed; it is on Linux wherever torch's CUDA build is."""
    return importlib.util.find_spec("triton") is not None


def make_fused_step(transformer: "Transformer") -> "FusedStep | None":
    """The fused decode step of this transformer; None where its device or its dtype has none."""
    weight = transformer.text_embeddings.weight
    if weight.device.type != "cuda" or weight.dtype not in FUSED_DTYPES or not has_triton():
        return None
    from model.kernels.fused_step import FusedStep

    return FusedStep(transformer)
