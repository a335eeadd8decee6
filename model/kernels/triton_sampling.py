"""Drawing tokens as one Triton kernel, one program a row: filter, guidance, noise, move to the next place.

The measure is `model.sampler`: the same filter, ties as there, and the same integer hash bit by bit.
Thresholds are found by halving the range of the logits' bit patterns, which needs no sort. Knows no network.
"""

# pyright: basic
# Triton's language is an untyped dialect of Python; the callers of the wrappers are checked strictly.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.config import EOS_ID
from model.kernels.launch import lanes_for, launcher
from model.sampler import SamplingRows

MAX_VOCAB = 1 << 16
"""A row is held in one program's registers."""


@triton.jit
def _mix(x):
    """`model.sampler._mix` in uint32."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def random_bits(seed, position, tokens):
    """`model.sampler.random_bits`, uint32. seed: int64, position: integer, tokens: integers."""
    golden = tl.full([], 0x9E3779B9, tl.uint32)
    low = (seed & 0xFFFFFFFF).to(tl.uint32)
    high = (seed >> 32).to(tl.uint32)
    a = _mix(low + golden)
    b = _mix(high ^ a)
    key0 = _mix(position.to(tl.uint32) ^ b)
    key1 = _mix(key0 ^ a) + golden
    return _mix(_mix(tokens.to(tl.uint32) ^ key0) + key1)


@triton.jit
def gumbel(bits):
    """`model.sampler.noise` of 32 random bits; log1p(−u) = −log(y) · u / (1 − y) with y = 1 − u rounded."""
    uniform = ((bits >> 1).to(tl.int32).to(tl.float32) + 0.5) * (1.0 / 2147483648.0)
    uniform = tl.minimum(uniform, 1.0 - 1.0 / 16777216.0)
    rest = 1.0 - uniform
    moved = tl.where(rest == 1.0, 1.0, 1.0 - rest)
    exponential = tl.where(rest == 1.0, uniform, -tl.log(rest) * (uniform / moved))
    return -tl.log(exponential)


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
def _argmax(main, tail, MAIN: tl.constexpr, HAS_TAIL: tl.constexpr):
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
def _probabilities(
    logits,
    row,
    width,
    temperatures,
    top_ks,
    top_ps,
    VOCAB: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
):
    """What row `row` draws from: temperature, top-k, top-p, softmax; 0 for other ids and from `width` on.

    Ids stand in two blocks, the first MAIN and the rest, so that a vocabulary little above a power of two
    does not take twice the registers.
    """
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
    weights = tl.where(lanes < width, tl.exp(scores - top), 0.0)
    tail_weights = tl.where(tail_lanes < width, tl.exp(tail_scores - top), 0.0)

    # The largest key that at least k keys reach.
    low = tl.where(top_k == 1, highest, LOWEST)
    high = highest
    for _ in range(tl.where((top_k > 1) & (top_k < width), ROUNDS, 0)):
        middle = (low | high) - ((low ^ high) >> 1)
        count = _sum((keys >= middle).to(tl.int32), (tail_keys >= middle).to(tl.int32), HAS_TAIL)
        low = tl.where(count >= top_k, middle, low)
        high = tl.where(count >= top_k, high, middle - 1)
    weights = tl.where(keys >= low, weights, 0.0)
    tail_weights = tl.where(tail_keys >= low, tail_weights, 0.0)

    # The smallest key above which no more than p stands.
    target = top_p * _sum(weights, tail_weights, HAS_TAIL)
    high = highest
    for _ in range(tl.where((top_p < 1.0) & (top_k != 1), ROUNDS, 0)):
        middle = (low & high) + ((low ^ high) >> 1)
        above = _sum(
            tl.where(keys > middle, weights, 0.0), tl.where(tail_keys > middle, tail_weights, 0.0), HAS_TAIL
        )
        high = tl.where(above <= target, middle, high)
        low = tl.where(above <= target, low, middle + 1)
    if top_k == 1:
        # Of equal largest logits the lowest id is taken alone.
        best = _argmax(keys, tail_keys, MAIN, HAS_TAIL)
        weights = tl.where(lanes == best, 1.0, 0.0)
        tail_weights = tl.where(tail_lanes == best, 1.0, 0.0)
    elif top_p < 1.0:
        weights = tl.where(keys >= low, weights, 0.0)
        tail_weights = tl.where(tail_keys >= low, tail_weights, 0.0)
        edge, tail_edge = (keys == low) & (lanes < width), (tail_keys == low) & (tail_lanes < width)
        above = _sum(
            tl.where(keys > low, weights, 0.0), tl.where(tail_keys > low, tail_weights, 0.0), HAS_TAIL
        )
        one = _max(tl.where(edge, weights, 0.0), tl.where(tail_edge, tail_weights, 0.0), HAS_TAIL)
        num_edge = _sum(edge.to(tl.int32), tail_edge.to(tl.int32), HAS_TAIL)
        num_kept = tl.floor((target - above) / tl.maximum(one, 1e-38)) + 1.0
        if num_edge.to(tl.float32) > num_kept:
            place = tl.cumsum(edge.to(tl.int32), axis=0)
            weights = tl.where(edge & (place.to(tl.float32) > num_kept), 0.0, weights)
            if HAS_TAIL:
                place = tl.cumsum(tail_edge.to(tl.int32), axis=0) + tl.sum(edge.to(tl.int32), axis=0)
                tail_weights = tl.where(tail_edge & (place.to(tl.float32) > num_kept), 0.0, tail_weights)
    total = _sum(weights, tail_weights, HAS_TAIL)
    return weights / total, tail_weights / total


@triton.jit
def _noisy(chances, seed, position, lanes):
    """log p plus noise; no id of probability 0 is ever the largest."""
    # The least normal float: the logarithm of 0 is not asked for.
    values = tl.log(tl.maximum(chances, 1.1754943508222875e-38))
    values += gumbel(random_bits(seed, position, lanes))
    return tl.where(chances > 0.0, values, float("-inf"))


@triton.jit
def draw_kernel(
    logits,
    temperatures,
    top_ks,
    top_ps,
    seeds,
    positions,
    widths,
    partners,
    leads,
    shares,
    drawn,
    eos_from,
    tokens,
    given,
    slots,
    advances,
    slot_stride,
    VOCAB: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
    GUIDED: tl.constexpr,
    ADVANCE: tl.constexpr,
    EOS: tl.constexpr,
):
    row = tl.program_id(0)
    width = tl.load(widths + row).to(tl.int32)
    # An unprompted row computes the draw of its prompted partner again, so that no row waits for another.
    lead = row
    if GUIDED:
        lead = tl.load(leads + row).to(tl.int32)
    chances, tail_chances = _probabilities(  # pyright: ignore[reportGeneralTypeIssues]
        logits, lead, width, temperatures, top_ks, top_ps, VOCAB, MAIN, TAIL, HALF
    )
    if GUIDED:
        partner = tl.load(partners + lead).to(tl.int32)
        if partner != lead:
            share = tl.load(shares + lead)
            others, tail_others = _probabilities(
                logits, partner, width, temperatures, top_ks, top_ps, VOCAB, MAIN, TAIL, HALF
            )
            chances = (1.0 - share) * chances + share * others
            tail_chances = (1.0 - share) * tail_chances + share * tail_others
    # The row's own place: the lead stands at the same one, but may have moved on already.
    position = tl.load(positions + row)
    if ADVANCE:
        position += 1
    seed = tl.load(seeds + lead)
    values = _noisy(chances, seed, position, tl.arange(0, MAIN))
    tail_values = _noisy(tail_chances, seed, position, MAIN + tl.arange(0, TAIL))
    token = _argmax(values, tail_values, MAIN, VOCAB > MAIN).to(tl.int64)
    if ADVANCE:
        advance = tl.load(advances + row)
        token = tl.where(token >= tl.load(eos_from + row), EOS, token)
        place = tl.load(slots + row) * slot_stride + position
        token = tl.where(tl.load(given + place) != 0, tl.load(tokens + place), token)
        tl.store(tokens + place, token, mask=advance != 0)
        tl.store(positions + row, position - 1 + advance)
    tl.store(drawn + row, token)


def blocks_for(vocab: int) -> tuple[int, int]:
    """Lengths of the two blocks that hold a row; the second is 1, and unused, where one power of two does."""
    whole = lanes_for(vocab)
    main = whole // 2
    rest = lanes_for(max(vocab - main, 1))
    return (main, rest) if whole > vocab and 1 <= rest <= main // 4 else (whole, 1)


@dataclass(frozen=True)
class DrawRows:
    """Settings of every row, on the device; all of shape (rows,).

    `widths`: int64, ids from 0 that may be drawn; `partners`, `leads` and `shares` are `Guidance.unprompted`,
    `.prompted` and `.weight`. The rest as in `SamplingRows`.
    """

    temperatures: Tensor
    top_ks: Tensor
    top_ps: Tensor
    seeds: Tensor
    positions: Tensor
    widths: Tensor
    partners: Tensor
    leads: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Board:
    """Where drawn tokens go, and how rows move on.

    `tokens`: int64, `given`: bool, both of shape (slots, total_length); `slots`: int64, shape = (rows,);
    `eos_from`: int64, shape = (rows,), a drawn id that is not below means eos; `advances`: int64, shape =
    (rows,), 1 for rows that write and move on, 0 for rows that only fill up the batch.
    """

    tokens: Tensor
    given: Tensor
    slots: Tensor
    eos_from: Tensor
    advances: Tensor


def _launch(logits: Tensor, rows: DrawRows, drawn: Tensor, board: Board | None, *, guided: bool) -> None:
    vocab = logits.shape[1]
    if vocab > MAX_VOCAB:
        raise ValueError(f"{vocab} ids do not fit one program; at most {MAX_VOCAB}")
    main, tail = blocks_for(vocab)
    unused = drawn
    launcher(draw_kernel)[(logits.shape[0],)](
        logits,
        rows.temperatures,
        rows.top_ks,
        rows.top_ps,
        rows.seeds,
        rows.positions,
        rows.widths,
        rows.partners,
        rows.leads,
        rows.shares,
        drawn,
        unused if board is None else board.eos_from,
        unused if board is None else board.tokens,
        unused if board is None else board.given.view(torch.uint8),
        unused if board is None else board.slots,
        unused if board is None else board.advances,
        0 if board is None else board.tokens.stride(0),
        VOCAB=vocab,
        MAIN=main,
        TAIL=tail,
        HALF=logits.dtype == torch.float16,
        GUIDED=guided,
        ADVANCE=board is not None,
        EOS=EOS_ID,
        num_warps=max(4, min(32, main // 512)),
    )


def draw(logits: Tensor, rows: SamplingRows) -> Tensor:
    """`model.sampler.sample` without `allowed`: one token a row, int64, shape = (rows,).

    logits: contiguous, shape = (rows, vocab). Differs from it only where rounding decides between two ids.
    """
    count, vocab = logits.shape
    every = torch.arange(count, device=logits.device)
    guidance = rows.guidance
    drawn = torch.empty(count, dtype=torch.int64, device=logits.device)
    draw_rows = DrawRows(
        temperatures=rows.temperature,
        top_ks=rows.top_k,
        top_ps=rows.top_p,
        seeds=rows.seeds,
        positions=rows.positions,
        widths=torch.full_like(every, vocab),
        partners=every if guidance is None else guidance.unprompted,
        leads=every if guidance is None else guidance.prompted,
        shares=torch.zeros(count, device=logits.device) if guidance is None else guidance.weight,
    )
    _launch(logits, draw_rows, drawn, None, guided=guidance is not None)
    return drawn


def draw_onto(logits: Tensor, rows: DrawRows, board: Board, drawn: Tensor, *, guided: bool) -> None:
    """Draw one token a row, write it behind the row's last known one, and move the row on.

    `rows.positions` hold the place of the last known token of each row and go up by one. Given tokens stand
    whatever is drawn; what is drawn, or given, is also written to `drawn`, int64, shape = (rows,).
    """
    _launch(logits, rows, drawn, board, guided=guided)
