"""Sparse decode attention as one Triton kernel: any mix of sequences, one program a sequence and head.

Each program reads the left text by its left slot and the body by its slot, so sequences of one prompt share
their left text. The keys of a sequence are never split over programs: its result is the same in any batch.
"""

# pyright: basic
# Triton's language is a dialect of Python that has no types; the callers of the wrapper are checked strictly.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.backends.cuda.launch import lanes_for, launcher
from model.config import ModelConfig


@dataclass(frozen=True)
class AttentionTuning:
    """Block sizes of a program. They change the speed, and the order of float32 sums."""

    block_keys: int = 64
    num_warps: int = 4


@triton.jit
def _fold(
    pool,
    at_keys,
    visible,
    query,
    lanes,
    in_head,
    top,
    total,
    context,
    TOKEN: tl.constexpr,
    HIDDEN: tl.constexpr,
):
    """Online softmax: add a block of keys to (largest score, sum of weights, weighted values)."""
    at = pool + at_keys[:, None] * TOKEN + lanes[None, :]
    mask = visible[:, None] & in_head[None, :]
    keys = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    values = tl.load(at + HIDDEN, mask=mask, other=0.0).to(tl.float32)
    scores = tl.sum(keys * query[None, :], axis=1)
    scores = tl.where(visible, scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, axis=0))
    weights = tl.exp(scores - new_top)
    shrink = tl.exp(top - new_top)
    context = context * shrink + tl.sum(weights[:, None] * values, axis=0)
    return new_top, total * shrink + tl.sum(weights, axis=0), context


@triton.jit
def _store(left, body, position, cell, lanes, in_head, key, value, TOKEN: tl.constexpr, HIDDEN: tl.constexpr):
    """Store the new key and value: in the left text's slot, or in the body's."""
    in_left, in_body = in_head & (cell < 0), in_head & (cell >= 0)
    tl.store(left + position * TOKEN + lanes, key, mask=in_left)
    tl.store(left + position * TOKEN + lanes + HIDDEN, value, mask=in_left)
    tl.store(body + cell * TOKEN + lanes, key, mask=in_body)
    tl.store(body + cell * TOKEN + lanes + HIDDEN, value, mask=in_body)


@triton.jit
def attend_kernel(
    fused,
    left,
    body,
    context_out,
    positions,
    left_slots,
    slots,
    cells,
    scale,
    HIDDEN: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    HEAD_LANES: tl.constexpr,
    LEFT_LENGTH: tl.constexpr,
    IMAGE_LENGTH: tl.constexpr,
    BODY_LENGTH: tl.constexpr,
    MAX_KEYS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    TOKEN: tl.constexpr = 2 * HIDDEN
    # Sequences are the fastest axis: programs that run together read the same heads of a shared left text.
    row = tl.program_id(0)
    head = tl.program_id(1)
    position = tl.load(positions + row).to(tl.int32)
    left_pool = left + tl.load(left_slots + row).to(tl.int64) * (LEFT_LENGTH * TOKEN)
    body_pool = body + tl.load(slots + row).to(tl.int64) * (BODY_LENGTH * TOKEN)
    head_lanes = tl.arange(0, HEAD_LANES)
    in_head = head_lanes < HEAD_SIZE
    lanes = head * HEAD_SIZE + head_lanes

    own = fused + row.to(tl.int64) * (3 * HIDDEN) + lanes
    query = tl.load(own, mask=in_head, other=0.0).to(tl.float32) * scale
    key = tl.load(own + HIDDEN, mask=in_head, other=0.0)
    value = tl.load(own + 2 * HIDDEN, mask=in_head, other=0.0)
    cell = position - LEFT_LENGTH
    in_image = (cell >= 0) & (cell < IMAGE_LENGTH)
    _store(left_pool, body_pool, position, cell, lanes, in_head, key, value, TOKEN, HIDDEN)

    # The own key is not read back: a program's stores are not ordered before its loads.
    top = tl.sum(query * key.to(tl.float32), axis=0)
    total = tl.full([], 1.0, tl.float32)
    context = value.to(tl.float32)
    num_left = tl.minimum(position, LEFT_LENGTH)
    for start in range(0, num_left, BLOCK):
        at_keys = start + tl.arange(0, BLOCK)
        top, total, context = _fold(
            left_pool, at_keys, at_keys < num_left, query, lanes, in_head, top, total, context, TOKEN, HIDDEN
        )
    num_body = tl.where(in_image, MAX_KEYS, tl.maximum(cell, 0))
    for start in range(0, num_body, BLOCK):
        nth = start + tl.arange(0, BLOCK)
        near = tl.load(cells + cell * MAX_KEYS + nth, mask=in_image & (nth < MAX_KEYS), other=0)
        at_keys = tl.where(in_image, near, nth)
        # The table is padded with the cell itself, which is counted already.
        visible = (nth < num_body) & (at_keys != cell)
        top, total, context = _fold(
            body_pool, at_keys, visible, query, lanes, in_head, top, total, context, TOKEN, HIDDEN
        )
    out = context_out + row.to(tl.int64) * HIDDEN + lanes
    tl.store(out, (context / total).to(context_out.dtype.element_ty), mask=in_head)


def attend(
    fused: Tensor,
    left: Tensor,
    body: Tensor,
    positions: Tensor,
    left_slots: Tensor,
    slots: Tensor,
    cells: Tensor,
    config: ModelConfig,
    tuning: AttentionTuning,
) -> Tensor:
    """Store the new keys and values, and return the attention of one token a sequence over the cached keys.

    fused: queries, keys, values, shape = (sequences, 3 · hidden). left, body: one layer's pools, as in
    `KeyValueCache`. positions (absolute), left_slots, slots: integers, shape = (sequences,), in any order of
    segments. cells: int32, the key table of the layer's kind, padded with the cell itself, shape = (W²,
    max_keys).
    Returns shape = (sequences, hidden), in the dtype of `fused`.
    """
    rows = fused.shape[0]
    context = torch.empty(rows, config.hidden_size, dtype=fused.dtype, device=fused.device)
    launcher(attend_kernel)[(rows, config.num_heads)](
        fused,
        left,
        body,
        context,
        positions,
        left_slots,
        slots,
        cells,
        config.head_size**-0.5,
        HIDDEN=config.hidden_size,
        HEAD_SIZE=config.head_size,
        HEAD_LANES=lanes_for(config.head_size),
        LEFT_LENGTH=config.left_text_length,
        IMAGE_LENGTH=config.image_length,
        BODY_LENGTH=body.shape[1],
        MAX_KEYS=cells.shape[1],
        BLOCK=tuning.block_keys,
        num_warps=tuning.num_warps,
    )
    return context
