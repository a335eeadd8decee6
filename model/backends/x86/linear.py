"""Linear layers whose weights are stored in the order in which the kernels read them.

One layer at a time; for inference only: no gradients, no state dict.
"""

from enum import IntEnum, StrEnum

import torch
from torch import Tensor

LANES = 16
"""Float32 numbers in a vector."""
LINE_BYTES = 64
OUTPUT_MULTIPLE = 32
"""Outputs are padded to a multiple of this; `OUTPUT_MULTIPLE` of tiles.h."""
PACKED12_INPUTS, PACKED12_BYTES = 8, 3 * LINE_BYTES
"""A block of 12-bit weights; `PACKED12_INPUTS` and `PACKED12_LINES` of packed12.h."""
INT8_MAX = 127
ZERO_POINT = 128
"""Zero of int8 inputs, which are stored as unsigned bytes; `ZERO_POINT` of tiles.h."""
SMALLEST = 1e-30
"""Avoids a division by zero for an output without weights."""


class WeightFormat(StrEnum):
    """Storage format of weights."""

    AUTO = "auto"
    """packed12 if the processor has fast bfloat16 products, else bf16."""
    BF16 = "bf16"
    """All bits of a bfloat16 checkpoint."""
    PACKED12 = "packed12"
    """12 bits per weight: weights below 2^-12 of the largest among 16 outputs are rounded, see packed12.h."""
    INT8 = "int8"
    """8 bits per weight of the layers, with one scale per output; the head has the format of `auto`."""


class Arithmetic(IntEnum):
    """Arithmetic of a product, in the order of `Arithmetic` in tiles.h."""

    BF16_DOT = 0
    """The dot product instruction of AVX512-BF16, of 12-bit weights; in_features is a multiple of 8."""
    FP32_FMA = 1
    """Float32, of weights in bfloat16, with the same order of sums."""
    INT8_DOT = 2
    """Integer dot products; in_features is a multiple of 16."""


INPUT_MULTIPLE = {Arithmetic.BF16_DOT: PACKED12_INPUTS, Arithmetic.FP32_FMA: 2, Arithmetic.INT8_DOT: LANES}


def fastest_arithmetic() -> Arithmetic:
    """Return the fastest product of bfloat16 with the instructions in use.

    BF16_DOT multiplies twice as many numbers per instruction as FP32_FMA and reads fewer bytes. But Intel
    processors start four FP32_FMA instructions in the time of one BF16_DOT. Results differ in their last
    bits, so the flags of the processor decide, not a measurement.
    """
    from model.backends.x86 import _kernels

    return Arithmetic.BF16_DOT if _kernels.has_fast_bf16_dot() else Arithmetic.FP32_FMA


def has_format(weight_format: WeightFormat) -> bool:
    """Whether the instructions in use multiply weights of a format."""
    from model.backends.x86 import _kernels

    return weight_format is not WeightFormat.PACKED12 or _kernels.has_bf16_dot()


def arithmetic_for(weight: Tensor, weight_format: WeightFormat) -> Arithmetic:
    """Return how a weight of shape (outputs, inputs) is multiplied in a format.

    Raises ValueError for inputs that the format does not allow.
    """
    inputs = weight.shape[1]
    arithmetic = {
        WeightFormat.AUTO: fastest_arithmetic(),
        WeightFormat.BF16: Arithmetic.FP32_FMA,
        WeightFormat.PACKED12: Arithmetic.BF16_DOT,
        WeightFormat.INT8: Arithmetic.INT8_DOT,
    }[weight_format]
    if weight_format is WeightFormat.AUTO and inputs % INPUT_MULTIPLE[arithmetic]:
        arithmetic = Arithmetic.FP32_FMA
    multiple = INPUT_MULTIPLE[arithmetic]
    if inputs % multiple:
        raise ValueError(f"{inputs} inputs cannot be multiplied: they must be a multiple of {multiple}.")
    return arithmetic


class PanelLinear:
    """Computes x Wᵀ + b, with optional tanh-GELU, in bfloat16 with float32 sums.

    The weights are copied; they have shape (out_features, in_features). x: shape = (…, in_features), any
    dtype. The result of a row does not depend on the other rows.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        gelu: bool = False,
        weight_format: WeightFormat = WeightFormat.AUTO,
    ) -> None:
        self._out_features, self._in_features = weight.shape
        self._gelu = gelu
        self._bias = _padded(bias.detach(), torch.float32).clone()
        self._scales = self._starts = torch.empty(0)
        self.arithmetic = arithmetic_for(weight, weight_format)
        if self.arithmetic is Arithmetic.INT8_DOT:
            self._weight = self._quantized(weight.detach())
        else:
            panels = _panels(weight.detach().to(torch.bfloat16), 2)
            self._weight = _packed12(panels) if self.arithmetic is Arithmetic.BF16_DOT else panels

    def _quantized(self, weight: Tensor) -> Tensor:
        weight = weight.float()
        scales = weight.abs().amax(dim=1).clamp_(min=SMALLEST) / INT8_MAX
        integers = (weight / scales[:, None]).round_()
        self._scales = _padded(scales, torch.float32)
        # Inputs are integers around ZERO_POINT: each sum starts with minus what that adds.
        self._starts = _padded(integers.sum(dim=1).mul_(-ZERO_POINT), torch.int32)
        return _panels(integers.to(torch.int8), 4)

    @property
    def addresses(self) -> tuple[int, int, int, int, int]:
        """`LinearAddresses` of kernels.h, valid as long as this layer lives."""
        is_int8 = self.arithmetic is Arithmetic.INT8_DOT
        scales, starts = (self._scales.data_ptr(), self._starts.data_ptr()) if is_int8 else (0, 0)
        return self._weight.data_ptr(), self._bias.data_ptr(), scales, starts, self.arithmetic

    def __call__(self, x: Tensor) -> Tensor:
        from model.backends.x86 import _kernels

        rows = x.reshape(-1, self._in_features).to(torch.bfloat16).contiguous()
        product = torch.empty(len(rows), self._out_features, dtype=torch.bfloat16)
        scratch = torch.empty(_kernels.linear_bytes(len(rows), self._in_features), dtype=torch.uint8)
        scales = torch.empty(len(rows))
        _kernels.linear(
            rows.data_ptr(), len(rows), self._in_features, self.addresses, self._out_features, self._gelu,
            product.data_ptr(), scratch.data_ptr(), scales.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return product.view(*x.shape[:-1], self._out_features)


def _panels(weight: Tensor, together: int) -> Tensor:
    """Return a weight of shape (outputs, inputs) as (outputs / lanes, inputs / together, lanes, together).

    The last two are a cache line: the inputs that an instruction takes together, of `lanes` outputs.
    """
    words = torch.int32 if together * weight.element_size() == 4 else torch.int16
    padded = _padded(weight, weight.dtype).view(words)
    lanes = LINE_BYTES // words.itemsize
    return padded.unflatten(0, (-1, lanes)).transpose(1, 2).contiguous()


def _padded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values, one or one row an output, with zeros up to the end of the last tile."""
    missing = -len(values) % OUTPUT_MULTIPLE
    padded = torch.cat([values, values.new_zeros(missing, *values.shape[1:])]) if missing else values
    return padded.to(dtype).contiguous()


def _packed12(panels: Tensor) -> Tensor:
    """Return bfloat16 panels in 12 bits a weight, laid out as in packed12.h; uint8, (panels, bytes)."""
    from model.backends.x86 import _kernels

    inputs = 2 * panels.shape[1]
    out = torch.empty(len(panels), LINE_BYTES + inputs // PACKED12_INPUTS * PACKED12_BYTES, dtype=torch.uint8)
    _kernels.pack12(panels.data_ptr(), len(panels), inputs, out.data_ptr(), torch.get_num_threads())
    return out
