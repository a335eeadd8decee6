"""Linear layers whose weights lie in the order in which the kernels read them.

Knows one layer at a time; for serving only: no gradients, no state dict.
"""

from enum import IntEnum

import torch
from torch import Tensor, nn

LANES = 16
"""Numbers of float32 in a vector."""
LINE_BYTES = 64
MOST_OUTPUTS = 64
"""Outputs that are computed together at most; `MOST_OUTPUTS` of tiles.h."""
NARROW_INPUTS, NARROW_BYTES = 8, 3 * LINE_BYTES
"""A stretch of weights in twelve bits; `STRETCH_INPUTS` and `STRETCH_LINES` of twelve.h."""
HALF_MAX_WEIGHT = 64.0
"""Larger weights could bring a sum beyond float16."""
INT8_MAX = 127
MIDDLE = 128
"""Zero of the rows in whole numbers; `MIDDLE` of tiles.h."""
SMALLEST = 1e-30
"""An output without weights must not be divided by zero."""


class Arithmetic(IntEnum):
    """How numbers are multiplied; `Arithmetic` of tiles.h, in its order."""

    PAIRS = 0
    """By the instruction for bfloat16, of weights that have twelve bits in memory: those below 2^-12 of the
    largest among 16 outputs are rounded, by no more than half of that. in_features is a multiple of 8."""
    SPREAD = 1
    """By way of float32, in the same order of sums."""
    WHOLE = 2
    """In whole numbers."""
    HALF = 3
    """In float16, 32 products at a time, whose sums are added in float32."""


def _panels(weight: Tensor, together: int) -> Tensor:
    """A weight of shape (outputs, inputs) as (outputs / lanes, inputs / together, lanes, together).

    The last two are a line of memory: what an instruction takes together, of `lanes` outputs.
    """
    words = torch.int32 if together * weight.element_size() == 4 else torch.int16
    filled = _filled(weight, weight.dtype).view(words)
    lanes = LINE_BYTES // words.itemsize
    return filled.unflatten(0, (-1, lanes)).transpose(1, 2).contiguous()


def _filled(values: Tensor, dtype: torch.dtype) -> Tensor:
    """One value or one row an output, and zeros as far as the last tile goes."""
    missing = -len(values) % MOST_OUTPUTS
    filled = torch.cat([values, values.new_zeros(missing, *values.shape[1:])]) if missing else values
    return filled.to(dtype).contiguous()


def _narrowed(panels: Tensor) -> Tensor:
    """Panels of bfloat16 in twelve bits, as twelve.h lays them out; uint8, shape = (panels, bytes)."""
    from model.kernels.x86 import _kernels

    inputs = 2 * panels.shape[1]
    out = torch.empty(len(panels), LINE_BYTES + inputs // NARROW_INPUTS * NARROW_BYTES, dtype=torch.uint8)
    _kernels.narrow(panels.data_ptr(), len(panels), inputs, out.data_ptr(), torch.get_num_threads())
    return out


class PanelLinear(nn.Module):
    """x Wᵀ + b in bfloat16 with float32 sums, and tanh-GELU of it where asked.

    The weights are copied; their shape is (out_features, in_features), in_features even. x: shape = (…,
    in_features), any dtype. A row's result never depends on the rows beside it.
    """

    TOGETHER = 2
    """Inputs that one instruction takes."""

    def __init__(
        self, weight: Tensor, bias: Tensor, *, gelu: bool = False, arithmetic: Arithmetic | None = None
    ) -> None:
        """`arithmetic`: any but WHOLE; None for this processor's fastest that the weights fit."""
        super().__init__()
        self._out_features, self._in_features = weight.shape
        self._arithmetic = self._choose(weight) if arithmetic is None else arithmetic
        together = NARROW_INPUTS if self._arithmetic is Arithmetic.PAIRS else self.TOGETHER
        if self._in_features % together:
            raise ValueError(
                f"{self._in_features} inputs cannot be multiplied: they must be a multiple of {together}"
            )
        self._weight = self._laid_out(weight.detach())
        self._bias = _filled(bias.detach(), torch.float32).clone()
        self._gelu = gelu

    def _choose(self, weight: Tensor) -> Arithmetic:
        fastest = fastest_arithmetic()
        is_large = fastest is Arithmetic.HALF and weight.abs().max() > HALF_MAX_WEIGHT
        is_odd = fastest is Arithmetic.PAIRS and self._in_features % NARROW_INPUTS
        return Arithmetic.SPREAD if is_large or is_odd else fastest

    def _laid_out(self, weight: Tensor) -> Tensor:
        weight = weight.to(torch.bfloat16)
        if self._arithmetic is Arithmetic.HALF:
            return _panels(weight.to(torch.float16), 1)
        panels = _panels(weight, self.TOGETHER)
        return _narrowed(panels) if self._arithmetic is Arithmetic.PAIRS else panels

    @property
    def addresses(self) -> tuple[int, int, int, int, int]:
        """`LinearAddresses` of kernels.h, good as long as this layer lives."""
        return self._weight.data_ptr(), self._bias.data_ptr(), 0, 0, self._arithmetic

    def forward(self, x: Tensor) -> Tensor:
        from model.kernels.x86 import _kernels

        rows = x.reshape(-1, self._in_features).to(torch.bfloat16).contiguous()
        product = torch.empty(len(rows), self._out_features, dtype=torch.bfloat16)
        scratch = torch.empty(_kernels.linear_bytes(len(rows), self._in_features), dtype=torch.uint8)
        scales = torch.empty(len(rows))
        _kernels.linear(
            rows.data_ptr(), len(rows), self._in_features, self.addresses, self._out_features, self._gelu,
            product.data_ptr(), scratch.data_ptr(), scales.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return product.view(*x.shape[:-1], self._out_features)


class Int8PanelLinear(PanelLinear):
    """The same with whole numbers: one scale an output of W, one scale a row of x, found at every call.

    in_features is a multiple of 16.
    """

    TOGETHER = LANES

    def _choose(self, weight: Tensor) -> Arithmetic:
        return Arithmetic.WHOLE

    def _laid_out(self, weight: Tensor) -> Tensor:
        weight = weight.float()
        scales = weight.abs().amax(dim=1).clamp_(min=SMALLEST) / INT8_MAX
        whole = (weight / scales[:, None]).round_()
        self._scales = _filled(scales, torch.float32)
        # Rows are whole numbers around MIDDLE: what that adds to a sum is taken away at its start.
        self._starts = _filled(whole.sum(dim=1).mul_(-MIDDLE), torch.int32)
        return _panels(whole.to(torch.int8), 4)

    @property
    def addresses(self) -> tuple[int, int, int, int, int]:
        weight, bias, *_ = super().addresses
        return weight, bias, self._scales.data_ptr(), self._starts.data_ptr(), Arithmetic.WHOLE


def fastest_arithmetic() -> Arithmetic:
    """What the processor multiplies bfloat16 fastest by, with the instructions in use.

    PAIRS and HALF multiply twice as many numbers an instruction as SPREAD, and PAIRS reads the fewest bytes;
    but Intel's processors begin four of the others in the time of one for bfloat16. Each way has
    bits of its own, so the flags decide, not a stopwatch.
    """
    from model.kernels.x86 import _kernels

    if _kernels.has_half():
        return Arithmetic.HALF
    return Arithmetic.PAIRS if _kernels.has_fast_pairs() else Arithmetic.SPREAD
