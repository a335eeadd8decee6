"""Products of a few rows in Triton, with LayerNorms before and bias and GELU after them, in one kernel.

A step of a few sequences takes as long as its weights stream and its kernels start. A program computes a
fixed tile of columns for 16 rows, and adds along the inner dimension in a fixed order. So a row has the
same bits in any batch of up to 16.
"""

# pyright: basic
# Triton's language is an untyped dialect of Python; the callers of the wrapper are checked strictly.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from model.backends.cuda.launch import lanes_for, launcher
from model.backends.cuda.triton_norm import HALF_MAX

MAX_ROWS = 16
"""Rows of a program, and the most that `few_rows_product` takes."""
MAX_ROW_BYTES = 2048
"""Largest row that is normalized in registers. It fits the shared memory of consumer GPUs."""
PARTIAL_BYTES = 1024
"""Inner length of a partial product without LayerNorms; the next one is loaded at the same time."""
MIN_INNER = 16
"""The least inner length of a product on tensor cores."""
COLUMNS = 16
"""Columns of a program. 1,024 columns are then 64 programs, and 16 rows of 1,024 weights are 32 KiB."""


@dataclass(frozen=True)
class AddAndNorm:
    """What precedes a product: `add_and_norm`, with the new residual in another tensor.

    branch: the dtype of the weights, residual and new_residual: float32, all of shape (rows, hidden).
    """

    branch: Tensor
    residual: Tensor
    new_residual: Tensor
    post: nn.LayerNorm
    following: nn.LayerNorm
    last: nn.LayerNorm | None = None
    clamp: bool = False


@triton.jit
def _row_norm(x, lanes, inside, weight, bias, EPSILON: tl.constexpr, SIZE: tl.constexpr):
    """LayerNorm of each row in float32; x is 0 outside."""
    mean = tl.sum(x, axis=1) / SIZE
    centred = tl.where(inside[None, :], x - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, axis=1) / SIZE
    scale = tl.load(weight + lanes, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + lanes, mask=inside, other=0.0).to(tl.float32)
    return centred * tl.rsqrt(variance + EPSILON)[:, None] * scale[None, :] + shift[None, :]


@triton.jit
def _add_and_norm(
    x, residual, new_residual, post_weight, post_bias, next_weight, next_bias, last_weight, last_bias, row,
    lanes, inside, mask, CLAMP: tl.constexpr, TWICE: tl.constexpr, LIMIT: tl.constexpr, EPSILON:
    tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """`add_and_norm_kernel` of several rows; every program needs the result, and the first one stores it."""
    x = x.to(tl.float32)
    if CLAMP:
        x = tl.where(x > LIMIT, LIMIT, tl.where(x < -LIMIT, -LIMIT, x))
    x = _row_norm(x, lanes, inside, post_weight, post_bias, EPSILON, SIZE)
    at = row[:, None] * SIZE + lanes[None, :]
    x += tl.load(residual + at, mask=mask, other=0.0)
    if tl.program_id(0) == 0:
        tl.store(new_residual + at, x, mask=mask)
    y = _row_norm(x, lanes, inside, next_weight, next_bias, EPSILON, SIZE)
    if TWICE:
        y = _row_norm(y, lanes, inside, last_weight, last_bias, EPSILON, SIZE)
    return y


@triton.jit
def _gelu(x):
    """tanh-GELU; tanh by the logistic function, which does not overflow."""
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return x * tl.sigmoid(2.0 * inner)


@triton.jit(do_not_specialize=["rows"])
def product_kernel(
    x,
    weight,
    bias,
    out,
    residual,
    new_residual,
    post_weight,
    post_bias,
    next_weight,
    next_bias,
    last_weight,
    last_bias,
    rows,
    NORM: tl.constexpr,
    CLAMP: tl.constexpr,
    TWICE: tl.constexpr,
    GELU: tl.constexpr,
    LIMIT: tl.constexpr,
    EPSILON: tl.constexpr,
    INNER: tl.constexpr,
    OUTER: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMN_BLOCK: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
):
    row = tl.arange(0, ROW_BLOCK)
    column = tl.program_id(0) * COLUMN_BLOCK + tl.arange(0, COLUMN_BLOCK)
    is_column = column < OUTER
    total = tl.zeros([ROW_BLOCK, COLUMN_BLOCK], tl.float32)
    for first in range(0, INNER, BLOCK):
        lanes = first + tl.arange(0, BLOCK)
        inside = lanes < INNER
        mask = (row < rows)[:, None] & inside[None, :]
        # The weights first: they do not depend on the kernel before this one.
        tile = tl.load(
            weight + column[:, None] * INNER + lanes[None, :],
            mask=is_column[:, None] & inside[None, :],
            other=0.0,
        )
        part = tl.load(x + row[:, None] * INNER + lanes[None, :], mask=mask, other=0.0)
        if NORM:
            part = _add_and_norm(
                part, residual, new_residual, post_weight, post_bias, next_weight, next_bias, last_weight,
                last_bias, row, lanes, inside, mask, CLAMP, TWICE, LIMIT, EPSILON, INNER,
            )  # fmt: skip
        total += tl.dot(part.to(tile.dtype), tl.trans(tile), input_precision="ieee")
    total += tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    if GELU:
        total = _gelu(total)
    at = row[:, None] * OUTER + column[None, :]
    tl.store(out + at, total.to(out.dtype.element_ty), mask=(row < rows)[:, None] & is_column[None, :])


def few_rows_product(x: Tensor | AddAndNorm, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> Tensor:
    """Return x · weightᵀ + bias, then tanh-GELU if asked, in the dtype of the weights.

    x: shape = (rows, inner), or what precedes the product. There are at most MAX_ROWS rows, with LayerNorms
    of at most MAX_ROW_BYTES. weight: shape = (outer, inner); bias: shape = (outer,). Returns shape = (rows,
    outer). Raises ValueError if the rows do not fit.
    """
    outer, inner = weight.shape
    before = x if isinstance(x, AddAndNorm) else None
    source = x.branch if isinstance(x, AddAndNorm) else x
    rows = len(source)
    size = weight.element_size()
    if rows > MAX_ROWS or (before is not None and inner * size > MAX_ROW_BYTES):
        raise ValueError(f"{rows} rows of {inner} do not fit one program. Split them.")
    out = torch.empty(rows, outer, dtype=weight.dtype, device=weight.device)
    most = (MAX_ROW_BYTES if before is not None else PARTIAL_BYTES) // size
    block = max(MIN_INNER, min(most, lanes_for(inner)))
    unused = source
    last = None if before is None else (before.last or before.following)
    launcher(product_kernel)[(-(-outer // COLUMNS),)](
        source,
        weight,
        bias,
        out,
        unused if before is None else before.residual,
        unused if before is None else before.new_residual,
        unused if before is None else before.post.weight,
        unused if before is None else before.post.bias,
        unused if before is None else before.following.weight,
        unused if before is None else before.following.bias,
        unused if last is None else last.weight,
        unused if last is None else last.bias,
        rows,
        NORM=before is not None,
        CLAMP=before is not None and before.clamp,
        TWICE=before is not None and before.last is not None,
        GELU=gelu,
        LIMIT=HALF_MAX,
        EPSILON=1e-5 if before is None else before.post.eps,
        INNER=inner,
        OUTER=outer,
        BLOCK=block,
        COLUMN_BLOCK=COLUMNS,
        ROW_BLOCK=MAX_ROWS,
        num_warps=8,
        num_stages=2,
    )
    return out
