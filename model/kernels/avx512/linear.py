"""Linear layers whose weights lie in the order in which the kernel reads them.

Knows one layer at a time; for serving only: no gradients, no state dict.
"""

import torch
from torch import Tensor, nn

PANEL = 32
"""Outputs that lie together; `PANEL` of linear.h."""


def panels(weight: Tensor) -> Tensor:
    """A weight of shape (outputs, inputs) as (outputs / 32, inputs / 2, 32, 2), filled up with zeros."""
    outputs, inputs = weight.shape
    filled = torch.cat([weight, weight.new_zeros(-outputs % PANEL, inputs)])
    return filled.view(-1, PANEL, inputs // 2, 2).permute(0, 2, 1, 3).contiguous()


class PanelLinear(nn.Module):
    """x Wᵀ + b in bfloat16 with float32 sums, and tanh-GELU of it where asked.

    The weights are copied; their shape is (out_features, in_features), in_features even. x: shape = (…,
    in_features), any dtype. A row's result never depends on the rows beside it.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> None:
        super().__init__()
        self._out_features, self._in_features = weight.shape
        if self._in_features % 2:
            raise ValueError(f"inputs are multiplied in pairs, {self._in_features} is odd")
        self.weight = panels(weight.detach().to(torch.bfloat16))
        self.bias = torch.zeros(len(self.weight) * PANEL)
        self.bias[: self._out_features] = bias.detach()
        self._gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        from model.kernels.avx512 import _kernels

        rows = x.reshape(-1, self._in_features).to(torch.bfloat16).contiguous()
        product = torch.empty(len(rows), self._out_features, dtype=torch.bfloat16)
        _kernels.linear(
            rows.data_ptr(), len(rows), self._in_features, self.weight.data_ptr(), self.bias.data_ptr(),
            self._out_features, self._gelu, product.data_ptr(), 0, torch.get_num_threads(),
        )  # fmt: skip
        return product.view(*x.shape[:-1], self._out_features)
