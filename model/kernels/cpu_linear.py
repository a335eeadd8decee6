"""Linear layers in the blocked layout of oneDNN, for serving on a CPU.

A plain linear lays its weights out anew at every call, which at the few rows of a decode step takes about as
long as the product itself. Knows one layer at a time; packed weights serve only: no gradients, no state dict.
"""

from typing import Any

import torch
from torch import Tensor, nn

_ONEDNN: Any = torch.ops.mkldnn


def can_pack(linear: nn.Linear) -> bool:
    """Whether this build and processor have packed products for the weights of `linear`; found by trying."""
    weight = linear.weight
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    probe = torch.eye(16, dtype=weight.dtype)
    try:
        return torch.equal(PackedLinear(probe, torch.zeros(16, dtype=weight.dtype))(probe), probe)
    except (AttributeError, RuntimeError):
        return False


class PackedLinear(nn.Module):
    """x Wᵀ + b, and tanh-GELU of it where asked; the numbers of `nn.Linear` up to rounding.

    The weights are copied. x: shape = (…, in_features), any dtype; the result has that of the weights.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        super().__init__()
        self._out_features, self._in_features = weight.shape
        self._weight: Tensor = _ONEDNN._reorder_linear_weight(weight.detach().contiguous())
        self._bias = bias.detach().clone()
        self._then = ("gelu", [], "tanh") if gelu else ("none", [], "")

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self._in_features).to(self._bias.dtype)
        if len(rows) == 1:
            # A row alone has a product of its own in float32, which rounds otherwise than the one for many.
            return self._product(rows.expand(2, -1).contiguous())[:1].view(*x.shape[:-1], self._out_features)
        return self._product(rows).view(*x.shape[:-1], self._out_features)

    def _product(self, rows: Tensor) -> Tensor:
        product: Tensor = _ONEDNN._linear_pointwise(rows, self._weight, self._bias, *self._then)
        return product


def packed(linear: nn.Linear, *, gelu: bool = False) -> PackedLinear:
    """The packed form of a plain linear layer."""
    return PackedLinear(linear.weight, linear.bias, gelu=gelu)
