"""Embedding and LayerNorms of a decode step as Triton kernels, one program a sequence.

The residual stays in float32 between the kernels; inputs of products are stored in the dtype of the weights.
"""

# pyright: basic
# Triton's language is an untyped dialect of Python; the callers of the wrappers are checked strictly.

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor, nn

from model.backends.cuda.launch import lanes_for, launcher
from model.config import PAD_ID, ModelConfig

HALF_MAX = 65504.0


@triton.jit
def _layer_norm(x, lanes, inside, weight, bias, EPSILON: tl.constexpr, SIZE: tl.constexpr):
    """LayerNorm of one row in float32; x is 0 outside."""
    mean = tl.sum(x, axis=0) / SIZE
    centred = tl.where(inside, x - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / SIZE
    scale = tl.load(weight + lanes, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + lanes, mask=inside, other=0.0).to(tl.float32)
    return centred * tl.rsqrt(variance + EPSILON) * scale + shift


@triton.jit
def _embedding(
    token,
    position,
    text_table,
    image_table,
    left_table,
    right_table,
    row_table,
    column_table,
    lanes,
    inside,
    TEXT_VOCAB: tl.constexpr,
    LEFT_LENGTH: tl.constexpr,
    WIDTH: tl.constexpr,
    PAD: tl.constexpr,
    SIZE: tl.constexpr,
):
    """Embedding of one token in float32."""
    cell = position - LEFT_LENGTH
    right = cell - WIDTH * WIDTH
    in_left = cell < 0
    in_right = right >= 0
    in_image = (cell >= 0) & (right < 0)
    token = tl.where(in_left & (token == PAD), TEXT_VOCAB - LEFT_LENGTH + position, token)
    text = inside & (in_left | in_right)
    image = inside & in_image
    x = tl.load(text_table + token * SIZE + lanes, mask=text, other=0.0).to(tl.float32)
    x += tl.load(image_table + token * SIZE + lanes, mask=image, other=0.0).to(tl.float32)
    offset = tl.load(left_table + position * SIZE + lanes, mask=inside & in_left, other=0.0).to(tl.float32)
    offset += tl.load(right_table + right * SIZE + lanes, mask=inside & in_right, other=0.0).to(tl.float32)
    offset += tl.load(row_table + (cell // WIDTH) * SIZE + lanes, mask=image, other=0.0).to(tl.float32)
    offset += tl.load(column_table + (cell % WIDTH) * SIZE + lanes, mask=image, other=0.0).to(tl.float32)
    return x + offset


@triton.jit(do_not_specialize=["slot_stride", "start", "length"])
def embed_kernel(
    tokens,
    slots,
    positions,
    text_table,
    image_table,
    left_table,
    right_table,
    row_table,
    column_table,
    weight,
    bias,
    residual,
    normed,
    slot_stride,
    start,
    length,
    STRETCH: tl.constexpr,
    TEXT_VOCAB: tl.constexpr,
    LEFT_LENGTH: tl.constexpr,
    WIDTH: tl.constexpr,
    PAD: tl.constexpr,
    EPSILON: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    if STRETCH:
        position = (start + row % length).to(tl.int32)
        token = tl.load(tokens + (row // length) * slot_stride + row % length).to(tl.int64)
    else:
        position = tl.load(positions + row).to(tl.int32)
        slot = tl.load(slots + row).to(tl.int64)
        token = tl.load(tokens + slot * slot_stride + position).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < SIZE
    x = _embedding(
        token, position, text_table, image_table, left_table, right_table, row_table, column_table, lanes,
        inside, TEXT_VOCAB, LEFT_LENGTH, WIDTH, PAD, SIZE,
    )  # fmt: skip
    tl.store(residual + row * SIZE + lanes, x, mask=inside)
    y = _layer_norm(x, lanes, inside, weight, bias, EPSILON, SIZE)
    tl.store(normed + row * SIZE + lanes, y.to(normed.dtype.element_ty), mask=inside)


@triton.jit
def add_and_norm_kernel(
    branch,
    residual,
    post_weight,
    post_bias,
    next_weight,
    next_bias,
    last_weight,
    last_bias,
    normed,
    CLAMP: tl.constexpr,
    TWICE: tl.constexpr,
    LIMIT: tl.constexpr,
    EPSILON: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < SIZE
    x = tl.load(branch + row * SIZE + lanes, mask=inside, other=0.0).to(tl.float32)
    if CLAMP:
        x = tl.where(x > LIMIT, LIMIT, tl.where(x < -LIMIT, -LIMIT, x))
    x = _layer_norm(x, lanes, inside, post_weight, post_bias, EPSILON, SIZE)
    x += tl.load(residual + row * SIZE + lanes, mask=inside, other=0.0)
    tl.store(residual + row * SIZE + lanes, x, mask=inside)
    y = _layer_norm(x, lanes, inside, next_weight, next_bias, EPSILON, SIZE)
    if TWICE:
        y = _layer_norm(y, lanes, inside, last_weight, last_bias, EPSILON, SIZE)
    tl.store(normed + row * SIZE + lanes, y.to(normed.dtype.element_ty), mask=inside)


def _num_warps(block: int) -> int:
    return 4 if block <= 1024 else 8


@dataclass(frozen=True)
class EmbeddingTables:
    """Embedding tables, each of shape (entries, hidden)."""

    text: Tensor
    image: Tensor
    left: Tensor
    right: Tensor
    row: Tensor
    column: Tensor


@dataclass(frozen=True)
class TokensAt:
    """One token a row: row n is tokens[slots[n], positions[n]], in any order of segments.

    `tokens`: integers, shape = (slots, total_length); `slots` and `positions`: int64, shape = (rows,).
    """

    tokens: Tensor
    slots: Tensor
    positions: Tensor


@dataclass(frozen=True)
class TokensFrom:
    """Stretches of tokens: `ids`, integers, shape = (sequences, length), at positions from `start` on."""

    ids: Tensor
    start: int


def embed_and_norm(
    tokens: TokensAt | TokensFrom,
    tables: EmbeddingTables,
    norm: nn.LayerNorm,
    config: ModelConfig,
    residual: Tensor,
    normed: Tensor,
) -> None:
    """Embed tokens and apply the first LayerNorm.

    Written: residual, float32, and normed, the dtype of the weights, both of shape (rows, hidden); for
    stretches the rows are sequences · length.
    """
    block = lanes_for(config.hidden_size)
    is_stretch = isinstance(tokens, TokensFrom)
    ids = tokens.ids if isinstance(tokens, TokensFrom) else tokens.tokens
    assert ids.stride(1) == 1
    launcher(embed_kernel)[(residual.shape[0],)](
        ids,
        ids if isinstance(tokens, TokensFrom) else tokens.slots,
        ids if isinstance(tokens, TokensFrom) else tokens.positions,
        tables.text,
        tables.image,
        tables.left,
        tables.right,
        tables.row,
        tables.column,
        norm.weight,
        norm.bias,
        residual,
        normed,
        ids.stride(0),
        tokens.start if isinstance(tokens, TokensFrom) else 0,
        ids.shape[1],
        STRETCH=is_stretch,
        TEXT_VOCAB=config.text_vocab_size,
        LEFT_LENGTH=config.left_text_length,
        WIDTH=config.image_width,
        PAD=PAD_ID,
        EPSILON=norm.eps,
        SIZE=config.hidden_size,
        BLOCK=block,
        num_warps=_num_warps(block),
    )


def add_and_norm(
    branch: Tensor,
    residual: Tensor,
    post: nn.LayerNorm,
    following: nn.LayerNorm,
    normed: Tensor,
    *,
    last: nn.LayerNorm | None = None,
    clamp: bool = False,
) -> None:
    """Compute residual += post(branch) and normed = following(residual), then `last` of it if given.

    branch, normed: the dtype of the weights, residual: float32, all of shape (sequences, hidden). With
    `clamp` the branch is first clamped to the range of float16, as the reference clamps the attention output.
    """
    size = branch.shape[1]
    block = lanes_for(size)
    final = following if last is None else last
    launcher(add_and_norm_kernel)[(branch.shape[0],)](
        branch,
        residual,
        post.weight,
        post.bias,
        following.weight,
        following.bias,
        final.weight,
        final.bias,
        normed,
        CLAMP=clamp,
        TWICE=last is not None,
        LIMIT=HALF_MAX,
        EPSILON=post.eps,
        SIZE=size,
        BLOCK=block,
        num_warps=_num_warps(block),
    )
