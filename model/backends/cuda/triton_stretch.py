"""Attention of stretches of positions over themselves and the cached keys before them, as one Triton kernel.

The queries of a group share one prefix. All sequences that are scored on one prompt are one group. A block
of queries of many sequences then reads a key of the prefix once, and nothing is copied. Prompts are a group
each.
"""

# pyright: basic
# Triton's language is a dialect of Python that has no types; the callers of the wrapper are checked strictly.

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.backends.cuda.launch import lanes_for, launcher
from model.config import ModelConfig

BLOCK, SMALL_BLOCK = 64, 16
"""Queries of a program, and keys that it reads at once: with tensor cores, and without."""
MAX_STAGED_BYTES = 256
"""Largest key for which the next block is loaded while this one is computed."""
MIN_LANES = 16
"""The least inner length of a product on tensor cores."""


@triton.jit
def _fold(keys, values, visible, query, top, total, context, scale):
    """Online softmax: add a block of keys to (largest scores, sums of weights, weighted values)."""
    scores = tl.dot(query, tl.trans(keys), input_precision="ieee") * scale
    scores = tl.where(visible, scores, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, axis=1))
    # Of −∞ only differences to a finite number exist: a query may see no key of a block.
    finite = tl.where(new_top == float("-inf"), 0.0, new_top)
    weights = tl.exp(scores - finite[:, None])
    shrink = tl.exp(top - finite)
    added = tl.dot(weights.to(values.dtype), values, input_precision="ieee")
    return new_top, total * shrink + tl.sum(weights, axis=1), context * shrink[:, None] + added


@triton.jit
def _fold_cached(
    pool,
    count,
    before,
    seen,
    inside,
    lanes,
    in_head,
    query,
    top,
    total,
    context,
    scale,
    TOKEN: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Add the first `count` keys of a slot, which are at the positions from `before` on."""
    for first in range(0, count, BLOCK_KEYS):
        at_keys = first + tl.arange(0, BLOCK_KEYS)
        present = at_keys < count
        at = pool + at_keys[:, None] * TOKEN + lanes[None, :]
        mask = present[:, None] & in_head[None, :]
        keys = tl.load(at, mask=mask, other=0.0)
        values = tl.load(at + HIDDEN, mask=mask, other=0.0)
        shown = tl.load(
            seen[:, None] + (before + at_keys)[None, :], mask=inside[:, None] & present[None, :], other=0
        )
        top, total, context = _fold(  # pyright: ignore[reportGeneralTypeIssues]
            keys, values, shown != 0, query, top, total, context, scale
        )
    return top, total, context


@triton.jit
def _fold_new(
    group,
    nth,
    length,
    num_queries,
    seen,
    start,
    inside,
    lanes,
    in_head,
    query,
    top,
    total,
    context,
    scale,
    TOKEN: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Add the new keys of the sequences in this block of queries; `group`: address of the first key."""
    begin = tl.min(nth, axis=0) // length * length
    end = tl.minimum(tl.max(nth, axis=0) + 1, num_queries)
    for first in range(begin, end, BLOCK_KEYS):
        at_keys = first + tl.arange(0, BLOCK_KEYS)
        present = at_keys < end
        at = group + at_keys[:, None] * (TOKEN + HIDDEN) + lanes[None, :]
        mask = present[:, None] & in_head[None, :]
        keys = tl.load(at, mask=mask, other=0.0)
        values = tl.load(at + HIDDEN, mask=mask, other=0.0)
        own = (at_keys // length)[None, :] == (nth // length)[:, None]
        own = own & inside[:, None] & present[None, :]
        shown = tl.load(seen[:, None] + (start + at_keys % length)[None, :], mask=own, other=0)
        top, total, context = _fold(keys, values, shown != 0, query, top, total, context, scale)
    return top, total, context


@triton.jit
def _store(pool, at_tokens, keys, values, lanes, mask, TOKEN: tl.constexpr, HIDDEN: tl.constexpr):
    at = pool + at_tokens[:, None] * TOKEN + lanes[None, :]
    tl.store(at, keys, mask=mask)
    tl.store(at + HIDDEN, values, mask=mask)


@triton.jit
def _store_new(
    left, body, own, query_mask, positions, lanes,
    LEFT_LENGTH: tl.constexpr, TOKEN: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Store the new keys and values of the queries' positions in the slots."""
    key = tl.load(own + HIDDEN, mask=query_mask, other=0.0)
    value = tl.load(own + 2 * HIDDEN, mask=query_mask, other=0.0)
    in_left = query_mask & (positions < LEFT_LENGTH)[:, None]
    _store(left, positions, key, value, lanes, in_left, TOKEN, HIDDEN)
    in_body = query_mask & (positions >= LEFT_LENGTH)[:, None]
    _store(body, positions - LEFT_LENGTH, key, value, lanes, in_body, TOKEN, HIDDEN)


@triton.jit
def _context(
    left, body, new, nth, length, num_queries, seen, start, inside, lanes, in_head, query, scale,
    LEFT_LENGTH: tl.constexpr, TOKEN: tl.constexpr, HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Attention of a block of queries over the left text, the body and the new keys, float32."""
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    context = tl.zeros([BLOCK, LANES], tl.float32)
    top, total, context = _fold_cached(  # pyright: ignore[reportGeneralTypeIssues]
        left, tl.minimum(start, LEFT_LENGTH), 0, seen, inside, lanes, in_head, query, top, total, context,
        scale, TOKEN, HIDDEN, BLOCK,
    )  # fmt: skip
    top, total, context = _fold_cached(
        body, start - LEFT_LENGTH, LEFT_LENGTH, seen, inside, lanes, in_head, query, top, total, context,
        scale, TOKEN, HIDDEN, BLOCK,
    )  # fmt: skip
    # The new keys are not read back from the cache: stores of other programs may come after these loads.
    top, total, context = _fold_new(
        new, nth, length, num_queries, seen, start, inside, lanes, in_head, query, top, total, context, scale,
        TOKEN, HIDDEN, BLOCK,
    )  # fmt: skip
    return context / tl.where(inside, total, 1.0)[:, None]


@triton.jit(do_not_specialize=["start", "length", "num_queries"])
def stretch_kernel(
    fused,
    left,
    body,
    context_out,
    left_slots,
    slots,
    visible,
    scale,
    start,
    length,
    num_queries,
    HIDDEN: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    HEAD_LANES: tl.constexpr,
    LEFT_LENGTH: tl.constexpr,
    BODY_LENGTH: tl.constexpr,
    WRITE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    TOKEN: tl.constexpr = 2 * HIDDEN
    group = tl.program_id(2).to(tl.int64)
    head_lanes = tl.arange(0, HEAD_LANES)
    in_head = head_lanes < HEAD_SIZE
    lanes = tl.program_id(1) * HEAD_SIZE + head_lanes
    nth = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = nth < num_queries
    positions = start + nth % length
    left_pool = left + tl.load(left_slots + group).to(tl.int64) * (LEFT_LENGTH * TOKEN)
    body_pool = body + tl.load(slots + group).to(tl.int64) * (BODY_LENGTH * TOKEN)
    first_token = fused + group * num_queries * (3 * HIDDEN)
    own = first_token + nth[:, None] * (3 * HIDDEN) + lanes[None, :]
    mask = inside[:, None] & in_head[None, :]
    query = tl.load(own, mask=mask, other=0.0)
    if WRITE:
        _store_new(left_pool, body_pool, own, mask, positions, lanes, LEFT_LENGTH, TOKEN, HIDDEN)
    seen = visible + positions * (LEFT_LENGTH + BODY_LENGTH)
    context = _context(
        left_pool, body_pool, first_token + HIDDEN, nth, length, num_queries, seen, start, inside, lanes,
        in_head, query, scale, LEFT_LENGTH, TOKEN, HIDDEN, BLOCK_SIZE, HEAD_LANES,
    )  # fmt: skip
    out = context_out + (group * num_queries + nth)[:, None] * HIDDEN + lanes[None, :]
    tl.store(out, context.to(context_out.dtype.element_ty), mask=mask)


def attend_stretch(
    fused: Tensor,
    pools: tuple[Tensor, Tensor],
    left_slots: Tensor,
    slots: Tensor,
    mask: Tensor,
    start: int,
    length: int,
    config: ModelConfig,
    *,
    write: bool,
    block: int = BLOCK,
) -> Tensor:
    """Return the attention of positions [start, start + length) over themselves and the cached ones before.

    fused: queries, keys, values, shape = (sequences · length, 3 · hidden). pools: one layer's left and body
    pool, as in `KeyValueCache`; with start = 0 and without `write` they are not used. left_slots, slots:
    int64, shape = (sequences,), or (1,) where all sequences read the same slots. mask: bool, of the layer's
    kind, shape = (total_length, total_length). With `write` the new keys and values are stored in the
    slots. Returns shape = (sequences · length, hidden), in the dtype of `fused`.
    """
    left, body = pools
    context = torch.empty(len(fused), config.hidden_size, dtype=fused.dtype, device=fused.device)
    groups = len(slots)
    lanes = max(MIN_LANES, lanes_for(config.head_size))
    num_queries = len(fused) // groups
    launcher(stretch_kernel)[(-(-num_queries // block), config.num_heads, groups)](
        fused,
        left,
        body,
        context,
        left_slots,
        slots,
        mask.view(torch.uint8),
        config.head_size**-0.5,
        start,
        length,
        num_queries,
        HIDDEN=config.hidden_size,
        HEAD_SIZE=config.head_size,
        HEAD_LANES=lanes,
        LEFT_LENGTH=config.left_text_length,
        BODY_LENGTH=config.image_length + config.right_text_length,
        WRITE=write,
        BLOCK_SIZE=block,
        num_warps=4,
        # Keys and values that are loaded in advance; more do not fit the shared memory of consumer GPUs.
        num_stages=2 if lanes * fused.element_size() <= MAX_STAGED_BYTES else 1,
    )
    return context
