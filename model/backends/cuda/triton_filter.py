"""Sampling filters in Triton: temperature, top-k, top-p, min-p, softmax.

Thresholds are found by bisection over the bit patterns of the logits, which needs no sort. Ids are in two
blocks, the first MAIN and the rest (the tail): a vocabulary slightly above a power of two then does not take
twice the registers.
"""

# pyright: basic
# Triton's language is an untyped dialect of Python; the callers of the wrappers are checked strictly.

import triton
import triton.language as tl


@triton.jit
def _ordered(x, HALF: tl.constexpr):
    """Integers in the order of the floats x; both zeros are one."""
    x = tl.where(x == 0.0, 0.0, x)
    if HALF:
        bits = x.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32)
        return bits ^ ((bits >> 31) & 0x7FFF)
    bits = x.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def _sum(main, tail, HAS_TAIL: tl.constexpr):
    total = tl.sum(main, axis=0)
    if HAS_TAIL:
        total += tl.sum(tail, axis=0)
    return total


@triton.jit
def _max(main, tail, HAS_TAIL: tl.constexpr):
    largest = tl.max(main, axis=0)
    if HAS_TAIL:
        largest = tl.maximum(largest, tl.max(tail, axis=0))
    return largest


@triton.jit
def argmax(main, tail, MAIN: tl.constexpr, HAS_TAIL: tl.constexpr):
    """Id of the largest value, of equal ones the lowest."""
    best = tl.argmax(main, axis=0)
    if HAS_TAIL:
        other = tl.argmax(tail, axis=0) + MAIN
        best = tl.where(tl.max(tail, axis=0) > tl.max(main, axis=0), other, best)
    return best


@triton.jit
def _read(logits, lanes, width, temperature, LOWEST: tl.constexpr, HALF: tl.constexpr):
    """Scores and ordered keys of some ids; those from `width` on are below all."""
    inside = lanes < width
    raw = tl.load(logits + lanes, mask=inside, other=float("-inf")).to(tl.float32)
    scores = tl.div_rn(raw, tl.zeros_like(raw) + temperature)
    # Half-precision logits stay distinct when divided, so their shorter bit pattern will do.
    keys = _ordered(raw, HALF) if HALF else _ordered(scores, HALF)
    return scores, tl.where(inside, keys, LOWEST)


@triton.jit
def _top_k_edge(
    keys,
    tail_keys,
    highest,
    top_k,
    width,
    LOWEST: tl.constexpr,
    ROUNDS: tl.constexpr,
    HAS_TAIL: tl.constexpr,
):
    """The largest key that at least `top_k` keys reach; LOWEST where every id stays."""
    low = tl.where(top_k == 1, highest, LOWEST)
    high = highest
    for _ in range(tl.where((top_k > 1) & (top_k < width), ROUNDS, 0)):
        middle = (low | high) - ((low ^ high) >> 1)
        count = _sum((keys >= middle).to(tl.int32), (tail_keys >= middle).to(tl.int32), HAS_TAIL)
        low = tl.where(count >= top_k, middle, low)
        high = tl.where(count >= top_k, high, middle - 1)
    return low


@triton.jit
def _weight_above(keys, tail_keys, weights, tail_weights, edge, HAS_TAIL: tl.constexpr):
    return _sum(tl.where(keys > edge, weights, 0.0), tl.where(tail_keys > edge, tail_weights, 0.0), HAS_TAIL)


@triton.jit
def _top_p_edge(
    keys,
    tail_keys,
    weights,
    tail_weights,
    low,
    high,
    target,
    rounds,
    HAS_TAIL: tl.constexpr,
):
    """Return the smallest key in low … high with at most `target` weight above it; low without rounds."""
    for _ in range(rounds):
        middle = (low & high) + ((low ^ high) >> 1)
        above = _weight_above(keys, tail_keys, weights, tail_weights, middle, HAS_TAIL)
        high = tl.where(above <= target, middle, high)
        low = tl.where(above <= target, low, middle + 1)
    return low


@triton.jit
def _keep_top_p(
    keys,
    tail_keys,
    weights,
    tail_weights,
    inside,
    tail_inside,
    low,
    target,
    HAS_TAIL: tl.constexpr,
):
    """Weights of the keys above `low`, and of the lowest ids at `low` until `target` is reached or passed."""
    weights = tl.where(keys >= low, weights, 0.0)
    tail_weights = tl.where(tail_keys >= low, tail_weights, 0.0)
    edge, tail_edge = (keys == low) & inside, (tail_keys == low) & tail_inside
    above = _weight_above(keys, tail_keys, weights, tail_weights, low, HAS_TAIL)
    one = _max(tl.where(edge, weights, 0.0), tl.where(tail_edge, tail_weights, 0.0), HAS_TAIL)
    num_edge = _sum(edge.to(tl.int32), tail_edge.to(tl.int32), HAS_TAIL)
    num_kept = tl.floor((target - above) / tl.maximum(one, 1e-38)) + 1.0
    if num_edge.to(tl.float32) > num_kept:
        rank = tl.cumsum(edge.to(tl.int32), axis=0)
        weights = tl.where(edge & (rank.to(tl.float32) > num_kept), 0.0, weights)
        if HAS_TAIL:
            rank = tl.cumsum(tail_edge.to(tl.int32), axis=0) + tl.sum(edge.to(tl.int32), axis=0)
            tail_weights = tl.where(tail_edge & (rank.to(tl.float32) > num_kept), 0.0, tail_weights)
    return weights, tail_weights


@triton.jit
def probabilities(
    logits,
    row,
    width,
    temperatures,
    top_ks,
    top_ps,
    min_ps,
    VOCAB: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
):
    """Return the weights of the ids of row `row`, in two blocks; 0 for dropped ids and from `width` on."""
    HAS_TAIL: tl.constexpr = VOCAB > MAIN
    LOWEST: tl.constexpr = tl.constexpr(-0x8000 if HALF else -0x7FFFFFFF)
    ROUNDS: tl.constexpr = tl.constexpr(16 if HALF else 32)
    lanes = tl.arange(0, MAIN)
    tail_lanes = MAIN + tl.arange(0, TAIL)
    top_k = tl.load(top_ks + row).to(tl.int32)
    top_p = tl.load(top_ps + row)
    temperature = tl.load(temperatures + row)
    own = logits + row.to(tl.int64) * VOCAB
    scores, keys = _read(  # pyright: ignore[reportGeneralTypeIssues]
        own, lanes, width, temperature, LOWEST, HALF
    )
    tail_scores, tail_keys = _read(own, tail_lanes, width, temperature, LOWEST, HALF)
    highest = _max(keys, tail_keys, HAS_TAIL)
    top = _max(scores, tail_scores, HAS_TAIL)

    low = _top_k_edge(keys, tail_keys, highest, top_k, width, LOWEST, ROUNDS, HAS_TAIL)
    weights = tl.where((lanes < width) & (keys >= low), tl.exp(scores - top), 0.0)
    tail_weights = tl.where((tail_lanes < width) & (tail_keys >= low), tl.exp(tail_scores - top), 0.0)
    target = top_p * _sum(weights, tail_weights, HAS_TAIL)
    rounds = tl.where((top_p < 1.0) & (top_k != 1), ROUNDS, 0)
    low = _top_p_edge(keys, tail_keys, weights, tail_weights, low, highest, target, rounds, HAS_TAIL)
    if top_k == 1:
        # Of equal largest logits the lowest id is taken alone.
        best = argmax(keys, tail_keys, MAIN, HAS_TAIL)
        weights = tl.where(lanes == best, 1.0, 0.0)
        tail_weights = tl.where(tail_lanes == best, 1.0, 0.0)
    elif top_p < 1.0:
        weights, tail_weights = _keep_top_p(
            keys, tail_keys, weights, tail_weights, lanes < width, tail_lanes < width, low, target, HAS_TAIL
        )
    # Weights are relative to the largest probability, which top-k and top-p keep.
    min_p = tl.load(min_ps + row)
    weights = tl.where(weights >= min_p, weights, 0.0)
    tail_weights = tl.where(tail_weights >= min_p, tail_weights, 0.0)
    total = _sum(weights, tail_weights, HAS_TAIL)
    return weights / total, tail_weights / total
