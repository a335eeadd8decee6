"""Linear layers in the blocked layout of oneDNN, for serving on a CPU.

A plain linear lays its weights out anew at every call, which at the few rows of a decode step takes about as
long as the product itself. Knows one layer at a time; packed weights serve only: no gradients, no state dict.
With int8 weights a step reads half of what bfloat16 does, at some loss of quality.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_ONEDNN: Any = torch.ops.mkldnn
_QUANTISED: Any = torch.ops.onednn

INT8_MAX = 127
MIDDLE = 128
"""Zero of the activations: oneDNN has fast products for unsigned ones only, and none at all for signed."""
SMALLEST = 1e-30
"""A row of zeros must not be divided by zero."""


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


class Int8Linear(nn.Module):
    """x Wᵀ + b with whole numbers: one scale an output of W, one scale a row of x, found at every call.

    The weights are copied. x: shape = (…, in_features), any dtype; the result has that of the weights. Sums
    of whole numbers are exact, so a row's result never depends on the rows beside it.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        super().__init__()
        self._out_features, self._in_features = weight.shape
        self._dtype = weight.dtype
        weight = weight.detach().float()
        self._scales = weight.abs().amax(dim=1).clamp_(min=SMALLEST) / INT8_MAX
        whole = (weight / self._scales[:, None]).round_().to(torch.int8)
        self._weight: Tensor = _QUANTISED.qlinear_prepack(whole, None)
        self._zeros = torch.zeros(self._out_features, dtype=torch.int64)
        self._bias = bias.detach().float()
        self._gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self._in_features).float()
        scales = rows.abs().amax(dim=1, keepdim=True).clamp_(min=SMALLEST).mul_(1 / INT8_MAX)
        whole = rows.div(scales).round_().add_(MIDDLE).to(torch.uint8)
        product: Tensor = _QUANTISED.qlinear_pointwise(
            whole, 1.0, MIDDLE, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32,
            "none", [], "",
        )  # fmt: skip
        product = product.mul_(scales).add_(self._bias)
        if self._gelu:
            product = functional.gelu(product, approximate="tanh")
        return product.to(self._dtype).view(*x.shape[:-1], self._out_features)


def can_pack_int8() -> bool:
    """Whether torch has products of whole numbers here that lose nothing; found by trying.

    Processors without AVX512-VNNI add pairs of products in 16 bits, where large ones do not fit.
    """
    ones = torch.ones(16, 16)
    try:
        product = Int8Linear(ones, torch.zeros(16))(ones)
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(product, ones @ ones)
