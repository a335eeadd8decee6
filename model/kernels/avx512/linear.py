"""Linear layers whose weights lie in the order in which the kernels read them.

Knows one layer at a time; for serving only: no gradients, no state dict.
"""

import torch
from torch import Tensor, nn

PANEL = 32
"""Outputs that lie together; `PANEL` of linear.h."""
LANES = 16
"""Numbers in a vector."""
INT8_MAX = 127
MIDDLE = 128
"""Zero of the rows in whole numbers; `MIDDLE` of linear.h."""
SMALLEST = 1e-30
"""An output without weights must not be divided by zero."""


def _panels(weight: Tensor, together: int) -> Tensor:
    """A weight of shape (outputs, inputs) as (outputs / 32, inputs / together, 32, together)."""
    outputs, inputs = weight.shape
    filled = torch.cat([weight, weight.new_zeros(-outputs % PANEL, inputs)])
    return filled.view(-1, PANEL, inputs // together, together).permute(0, 2, 1, 3).contiguous()


def _filled(values: Tensor, dtype: torch.dtype) -> Tensor:
    """One value an output, and zeros as far as the last panel goes."""
    return torch.cat([values, values.new_zeros(-len(values) % PANEL)]).to(dtype)


class PanelLinear(nn.Module):
    """x Wᵀ + b in bfloat16 with float32 sums, and tanh-GELU of it where asked.

    The weights are copied; their shape is (out_features, in_features), in_features even. x: shape = (…,
    in_features), any dtype. A row's result never depends on the rows beside it.
    """

    TOGETHER = 2
    """Inputs that one instruction takes."""

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        super().__init__()
        self._out_features, self._in_features = weight.shape
        if self._in_features % self.TOGETHER:
            raise ValueError(
                f"{self._in_features} inputs cannot be multiplied: they must be a multiple of {self.TOGETHER}"
            )
        self._weight = self._laid_out(weight.detach())
        self._bias = _filled(bias.detach(), torch.float32)
        self._gelu = gelu

    def _laid_out(self, weight: Tensor) -> Tensor:
        return _panels(weight.to(torch.bfloat16), self.TOGETHER)

    @property
    def addresses(self) -> tuple[int, int, int, int]:
        """`LinearAddresses` of kernels.h, good as long as this layer lives."""
        return self._weight.data_ptr(), self._bias.data_ptr(), 0, 0

    def forward(self, x: Tensor) -> Tensor:
        from model.kernels.avx512 import _kernels

        rows = x.reshape(-1, self._in_features).to(torch.bfloat16).contiguous()
        product = torch.empty(len(rows), self._out_features, dtype=torch.bfloat16)
        whole = torch.empty(rows.shape, dtype=torch.uint8)
        scales = torch.empty(len(rows))
        _kernels.linear(
            rows.data_ptr(), len(rows), self._in_features, self.addresses, self._out_features, self._gelu,
            product.data_ptr(), whole.data_ptr(), scales.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return product.view(*x.shape[:-1], self._out_features)


class Int8PanelLinear(PanelLinear):
    """The same with whole numbers: one scale an output of W, one scale a row of x, found at every call.

    in_features is a multiple of 16.
    """

    TOGETHER = LANES

    def _laid_out(self, weight: Tensor) -> Tensor:
        weight = weight.float()
        scales = weight.abs().amax(dim=1).clamp_(min=SMALLEST) / INT8_MAX
        whole = (weight / scales[:, None]).round_()
        self._scales = _filled(scales, torch.float32)
        # Rows are whole numbers around MIDDLE: what that adds to a sum is taken away at its start.
        self._starts = _filled(whole.sum(dim=1).mul_(-MIDDLE), torch.int32)
        return _panels(whole.to(torch.int8), 4)

    @property
    def addresses(self) -> tuple[int, int, int, int]:
        weight, bias, _, _ = super().addresses
        return weight, bias, self._scales.data_ptr(), self._starts.data_ptr()
