"""The sampler as one Triton kernel, one program a sequence: filter, guidance, noise, write to the board.

The reference is `model.network.sampler`: the same filters and ties, and the same integer hash bit by bit.
"""

# pyright: basic
# Triton's language is an untyped dialect of Python; the callers of the wrappers are checked strictly.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.backends.cuda.launch import lanes_for, launcher
from model.backends.cuda.triton_filter import argmax, probabilities
from model.backends.cuda.triton_noise import noisy
from model.config import EOS_ID
from model.network.sampler import SamplingBatch

MAX_VOCAB = 1 << 16
"""A row is held in one program's registers."""


@triton.jit
def draw_kernel(
    logits,
    temperatures,
    top_ks,
    top_ps,
    min_ps,
    seeds,
    positions,
    widths,
    uncond_index,
    cond_index,
    guidance_weights,
    drawn,
    eos_from,
    tokens,
    forced,
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
    sequence = tl.program_id(0)
    width = tl.load(widths + sequence).to(tl.int32)
    # An unconditional sequence repeats the draw of its partner, so that no program waits for another.
    cond = sequence
    if GUIDED:
        cond = tl.load(cond_index + sequence).to(tl.int32)
    chances, tail_chances = probabilities(  # pyright: ignore[reportGeneralTypeIssues]
        logits, cond, width, temperatures, top_ks, top_ps, min_ps, VOCAB, MAIN, TAIL, HALF
    )
    if GUIDED:
        uncond = tl.load(uncond_index + cond).to(tl.int32)
        if uncond != cond:
            weight = tl.load(guidance_weights + cond)
            others, tail_others = probabilities(
                logits, uncond, width, temperatures, top_ks, top_ps, min_ps, VOCAB, MAIN, TAIL, HALF
            )
            chances = (1.0 - weight) * chances + weight * others
            tail_chances = (1.0 - weight) * tail_chances + weight * tail_others
    # The own position: that of the partner is the same one, but its program may have advanced it already.
    position = tl.load(positions + sequence) + (1 if ADVANCE else 0)
    seed = tl.load(seeds + cond)
    values = noisy(chances, seed, position, tl.arange(0, MAIN))
    tail_values = noisy(tail_chances, seed, position, MAIN + tl.arange(0, TAIL))
    token = argmax(values, tail_values, MAIN, VOCAB > MAIN).to(tl.int64)
    if ADVANCE:
        advance = tl.load(advances + sequence)
        token = tl.where(token >= tl.load(eos_from + sequence), EOS, token)
        at = tl.load(slots + sequence) * slot_stride + position
        token = tl.where(tl.load(forced + at) != 0, tl.load(tokens + at), token)
        tl.store(tokens + at, token, mask=advance != 0)
        tl.store(positions + sequence, position - 1 + advance)
    tl.store(drawn + sequence, token)


def blocks_for(vocab: int) -> tuple[int, int]:
    """Return the lengths of the two blocks that hold the ids; the second is 1 and unused if one is enough."""
    whole = lanes_for(vocab)
    main = whole // 2
    rest = lanes_for(max(vocab - main, 1))
    return (main, rest) if whole > vocab and 1 <= rest <= main // 4 else (whole, 1)


@dataclass(frozen=True)
class SamplingColumns:
    """Sampling parameters on the device, all of shape (sequences,).

    `widths`: int64, ids from 0 that may be drawn. The rest is as in `SamplingBatch` and its `Guidance`.
    """

    temperatures: Tensor
    top_ks: Tensor
    top_ps: Tensor
    min_ps: Tensor
    seeds: Tensor
    positions: Tensor
    widths: Tensor
    uncond_index: Tensor
    cond_index: Tensor
    guidance_weights: Tensor


@dataclass(frozen=True)
class Board:
    """The board that drawn tokens are written to, and how sequences advance.

    `tokens`: int64, `forced`: bool, both of shape (slots, total_length). Of shape (sequences,): `slots`,
    int64; `eos_from`, int64, a drawn id that is not below it means eos; `advances`, int64, 1 for sequences
    that write and advance, 0 for padding.
    """

    tokens: Tensor
    forced: Tensor
    slots: Tensor
    eos_from: Tensor
    advances: Tensor


def _launch(
    logits: Tensor, sampling: SamplingColumns, drawn: Tensor, board: Board | None, *, guided: bool
) -> None:
    vocab = logits.shape[1]
    if vocab > MAX_VOCAB:
        raise ValueError(f"{vocab} ids do not fit one program; at most {MAX_VOCAB}")
    main, tail = blocks_for(vocab)
    unused = drawn
    launcher(draw_kernel)[(logits.shape[0],)](
        logits,
        sampling.temperatures,
        sampling.top_ks,
        sampling.top_ps,
        sampling.min_ps,
        sampling.seeds,
        sampling.positions,
        sampling.widths,
        sampling.uncond_index,
        sampling.cond_index,
        sampling.guidance_weights,
        drawn,
        unused if board is None else board.eos_from,
        unused if board is None else board.tokens,
        unused if board is None else board.forced.view(torch.uint8),
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


def draw(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Do what the reference `sample` does without `allowed`: one token per sequence, int64.

    logits: contiguous, shape = (sequences, vocab). Differs only where rounding decides between two ids.
    """
    count, vocab = logits.shape
    every = torch.arange(count, device=logits.device)
    guidance = batch.guidance
    drawn = torch.empty(count, dtype=torch.int64, device=logits.device)
    no_guidance = torch.zeros(count, device=logits.device)
    columns = SamplingColumns(
        temperatures=batch.temperature,
        top_ks=batch.top_k,
        top_ps=batch.top_p,
        min_ps=batch.min_p,
        seeds=batch.seeds,
        positions=batch.positions,
        widths=torch.full_like(every, vocab),
        uncond_index=every if guidance is None else guidance.uncond_index,
        cond_index=every if guidance is None else guidance.cond_index,
        guidance_weights=no_guidance if guidance is None else guidance.weight,
    )
    _launch(logits, columns, drawn, None, guided=guidance is not None)
    return drawn


def draw_onto(
    logits: Tensor, sampling: SamplingColumns, board: Board, drawn: Tensor, *, guided: bool
) -> None:
    """Draw one token per sequence, write it after the last known one, and advance the sequence.

    `sampling.positions` are those of the last known tokens and are incremented. Forced tokens are
    never overwritten. The token is also written to `drawn`, int64, shape = (sequences,).
    """
    _launch(logits, sampling, drawn, board, guided=guided)
