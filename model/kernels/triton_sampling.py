"""Drawing tokens as one Triton kernel, one program a row: filter, guidance, noise, move to the next place.

The measure is `model.sampler`: the same filter, ties as there, and the same integer hash bit by bit. Knows no
network.
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
from model.kernels.triton_filter import argmax, probabilities
from model.kernels.triton_noise import noisy
from model.sampler import SamplingRows

MAX_VOCAB = 1 << 16
"""A row is held in one program's registers."""


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
    chances, tail_chances = probabilities(  # pyright: ignore[reportGeneralTypeIssues]
        logits, lead, width, temperatures, top_ks, top_ps, VOCAB, MAIN, TAIL, HALF
    )
    if GUIDED:
        partner = tl.load(partners + lead).to(tl.int32)
        if partner != lead:
            share = tl.load(shares + lead)
            others, tail_others = probabilities(
                logits, partner, width, temperatures, top_ks, top_ps, VOCAB, MAIN, TAIL, HALF
            )
            chances = (1.0 - share) * chances + share * others
            tail_chances = (1.0 - share) * tail_chances + share * tail_others
    # The row's own place: the lead stands at the same one, but may have moved on already.
    position = tl.load(positions + row)
    if ADVANCE:
        position += 1
    seed = tl.load(seeds + lead)
    values = noisy(chances, seed, position, tl.arange(0, MAIN))
    tail_values = noisy(tail_chances, seed, position, MAIN + tl.arange(0, TAIL))
    token = argmax(values, tail_values, MAIN, VOCAB > MAIN).to(tl.int64)
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
