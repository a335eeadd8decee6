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
def _probabilities(
    logits, row, width, temperatures, top_ks, top_ps, lanes, VOCAB: tl.constexpr, HALF: tl.constexpr
):
    """What row `row` draws from: temperature, top-k, top-p, softmax; 0 for other ids and from `width` on."""
    inside = lanes < width
    raw = tl.load(logits + row.to(tl.int64) * VOCAB + lanes, mask=inside, other=float("-inf")).to(tl.float32)
    top_k = tl.load(top_ks + row).to(tl.int32)
    top_p = tl.load(top_ps + row)
    scores = tl.div_rn(raw, tl.zeros_like(raw) + tl.load(temperatures + row))
    # Half-precision logits stay distinct when divided, so the shorter bit pattern will do.
    keys = _ordered(raw, HALF) if HALF else _ordered(scores, HALF)
    lowest = -0x8000 if HALF else -0x7FFFFFFF
    rounds = 16 if HALF else 32
    keys = tl.where(inside, keys, lowest)
    highest = tl.max(keys, axis=0)
    weights = tl.exp(scores - tl.max(scores, axis=0))
    weights = tl.where(inside, weights, 0.0)

    # The largest key that at least k keys reach.
    low = tl.where(top_k == 1, highest, lowest)
    high = highest
    for _ in range(tl.where((top_k > 1) & (top_k < width), rounds, 0)):
        middle = (low | high) - ((low ^ high) >> 1)
        enough = tl.sum((keys >= middle).to(tl.int32), axis=0) >= top_k
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle - 1)
    weights = tl.where(keys >= low, weights, 0.0)

    # The smallest key above which no more than p stands.
    target = top_p * tl.sum(weights, axis=0)
    high = highest
    for _ in range(tl.where((top_p < 1.0) & (top_k != 1), rounds, 0)):
        middle = (low & high) + ((low ^ high) >> 1)
        fits = tl.sum(tl.where(keys > middle, weights, 0.0), axis=0) <= target
        high = tl.where(fits, middle, high)
        low = tl.where(fits, low, middle + 1)
    if top_k == 1:
        # Of equal largest logits the lowest id is taken alone.
        weights = tl.where(lanes == tl.argmax(keys, axis=0), 1.0, 0.0)
    elif top_p < 1.0:
        weights = tl.where(keys >= low, weights, 0.0)
        at_edge = (keys == low) & inside
        above = tl.sum(tl.where(keys > low, weights, 0.0), axis=0)
        one = tl.max(tl.where(at_edge, weights, 0.0), axis=0)
        num_edge = tl.sum(at_edge.to(tl.int32), axis=0)
        num_kept = tl.floor((target - above) / tl.maximum(one, 1e-38)) + 1.0
        if num_edge.to(tl.float32) > num_kept:
            place = tl.cumsum(at_edge.to(tl.int32), axis=0).to(tl.float32)
            weights = tl.where(at_edge & (place > num_kept), 0.0, weights)
    return weights / tl.sum(weights, axis=0)


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
    BLOCK: tl.constexpr,
    HALF: tl.constexpr,
    GUIDED: tl.constexpr,
    ADVANCE: tl.constexpr,
    EOS: tl.constexpr,
):
    row = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    width = tl.load(widths + row).to(tl.int32)
    # An unprompted row computes the draw of its prompted partner again, so that no row waits for another.
    lead = row
    if GUIDED:
        lead = tl.load(leads + row).to(tl.int32)
    chances = _probabilities(logits, lead, width, temperatures, top_ks, top_ps, lanes, VOCAB, HALF)
    if GUIDED:
        partner = tl.load(partners + lead).to(tl.int32)
        if partner != lead:
            share = tl.load(shares + lead)
            others = _probabilities(logits, partner, width, temperatures, top_ks, top_ps, lanes, VOCAB, HALF)
            chances = (1.0 - share) * chances + share * others
    # The row's own place: the lead stands at the same one, but may have moved on already.
    position = tl.load(positions + row)
    if ADVANCE:
        position += 1
    noise = gumbel(random_bits(tl.load(seeds + lead), position, lanes))
    # The least normal float: the logarithm of 0 is not asked for.
    values = tl.log(tl.maximum(chances, 1.1754943508222875e-38)) + noise
    values = tl.where(chances > 0.0, values, float("-inf"))
    token = tl.argmax(values, axis=0).to(tl.int64)
    if ADVANCE:
        advance = tl.load(advances + row)
        token = tl.where(token >= tl.load(eos_from + row), EOS, token)
        place = tl.load(slots + row) * slot_stride + position
        token = tl.where(tl.load(given + place) != 0, tl.load(tokens + place), token)
        tl.store(tokens + place, token, mask=advance != 0)
        tl.store(positions + row, position - 1 + advance)
    tl.store(drawn + row, token)


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
    block = lanes_for(vocab)
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
        BLOCK=block,
        HALF=logits.dtype == torch.float16,
        GUIDED=guided,
        ADVANCE=board is not None,
        EOS=EOS_ID,
        num_warps=max(4, min(32, block // 512)),
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
