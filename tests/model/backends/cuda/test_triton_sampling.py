"""The sampling kernel against the plain sampler: the same filter, the same noise, the same draws."""

from dataclasses import replace

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from model.backends.cuda.triton_filter import probabilities
from model.backends.cuda.triton_noise import gumbel, random_bits
from model.backends.cuda.triton_sampling import Board, SamplingColumns, blocks_for, draw, draw_onto
from model.config import EOS_ID
from model.network.sampler import (
    Guidance,
    SamplingBatch,
    filter_scores,
    noise,
    sample,
    sampled_probabilities,
)
from model.network.sampler import random_bits as plain_bits


@triton.jit
def bits_kernel(seeds, positions, bits, values, VOCAB: tl.constexpr):
    row = tl.program_id(0)
    lanes = tl.arange(0, VOCAB)
    word = random_bits(tl.load(seeds + row), tl.load(positions + row), lanes)
    tl.store(bits + row * VOCAB + lanes, word.to(tl.int32, bitcast=True))
    tl.store(values + row * VOCAB + lanes, gumbel(word))


@triton.jit
def filter_kernel(
    logits,
    widths,
    temperatures,
    top_ks,
    top_ps,
    min_ps,
    out,
    VOCAB: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    HALF: tl.constexpr,
):
    row = tl.program_id(0)
    width = tl.load(widths + row).to(tl.int32)
    chances, tail = probabilities(
        logits, row, width, temperatures, top_ks, top_ps, min_ps, VOCAB, MAIN, TAIL, HALF
    )
    lanes, tail_lanes = tl.arange(0, MAIN), MAIN + tl.arange(0, TAIL)
    tl.store(out + row * VOCAB + lanes, chances, mask=lanes < VOCAB)
    tl.store(out + row * VOCAB + tail_lanes, tail, mask=tail_lanes < VOCAB)


def filtered(logits: Tensor, widths: Tensor, settings: SamplingBatch) -> Tensor:
    rows, vocab = logits.shape
    main, tail = blocks_for(vocab)
    out = torch.empty(rows, vocab, device=logits.device)
    filter_kernel[(rows,)](
        logits,
        widths,
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
        out,
        VOCAB=vocab,
        MAIN=main,
        TAIL=tail,
        HALF=logits.dtype == torch.float16,
    )
    return out


def settings_of(rows: int, seed: int, device: torch.device, vocab: int) -> SamplingBatch:
    """Any mix: greedy rows, rows that keep all, usual ones, k beyond the vocabulary."""
    generator = torch.Generator().manual_seed(seed)

    def pick(choices: list[float]) -> list[float]:
        return [choices[i] for i in torch.randint(len(choices), (rows,), generator=generator).tolist()]

    return SamplingBatch.of(
        temperature=pick([1.0, 0.9, 0.3, 1.7]),
        top_k=[int(k) for k in pick([0, 1, 2, 7, vocab // 2, vocab, vocab + 5])],
        top_p=pick([1.0, 0.99, 0.8, 0.3, 0.0]),
        min_p=pick([0.0, 0.0, 0.0507, 0.3011, 1.0]),
        seeds=torch.randint(2**63 - 1, (rows,), generator=generator).tolist(),
        positions=torch.randint(400, (rows,), generator=generator).tolist(),
        device=device,
    )


def logits_of(rows: int, vocab: int, seed: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The odd rows have few different values, so that every edge has ties; both zeros are among them."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocab, generator=generator) * 3
    logits[1::2] = torch.round(logits[1::2])
    logits[1::2, ::5] *= -1
    return logits.to(device, dtype)


def test_random_bits_equal_the_samplers_bit_by_bit(device: torch.device):
    edges = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62 + 12345, 2**63 - 1]
    seeds = torch.tensor(edges, device=device)
    positions = torch.tensor([0, 1, 63, 64, 319, 320, 383, 2**31 - 1], device=device)
    bits = torch.empty(len(edges), 1024, dtype=torch.int32, device=device)
    values = torch.empty(len(edges), 1024, device=device)
    bits_kernel[(len(edges),)](seeds, positions, bits, values, VOCAB=1024)
    assert torch.equal(bits, plain_bits(seeds, positions, 1024))
    torch.testing.assert_close(values, noise(seeds, positions, 1024), rtol=2e-6, atol=2e-6)


def test_noise_of_extreme_bits_is_finite_and_precise(device: torch.device):
    @triton.jit
    def kernel(bits, values):
        lanes = tl.arange(0, 8)
        tl.store(values + lanes, gumbel(tl.load(bits + lanes).to(tl.uint32, bitcast=True)))

    words = [0, 1, 2, 3, 4097, 2**31, 2**32 - 1, 2**32 - 2]
    bits = torch.tensor([word - (word >> 31 << 32) for word in words], dtype=torch.int32, device=device)
    values = torch.empty(8, device=device)
    kernel[(1,)](bits, values)
    uniform = ((torch.tensor(words).double().div(2, rounding_mode="floor").float() + 0.5) * 2.0**-31).clamp(
        max=1 - 2.0**-24
    )
    expected = -torch.log(-torch.log1p(-uniform.double()))
    torch.testing.assert_close(values.cpu().double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("vocab", "dtype", "seed"),
    [
        (5, torch.float32, 0),
        (64, torch.float16, 1),
        (300, torch.float32, 2),
        (300, torch.float16, 3),
        (64, torch.bfloat16, 4),
        (70, torch.float16, 5),
        (130, torch.float32, 6),
    ],
)
def test_filter_keeps_the_same_ids_as_the_plain_one(
    vocab: int, dtype: torch.dtype, seed: int, device: torch.device
):
    rows = 12
    settings = settings_of(rows, seed, device, vocab)
    logits = logits_of(rows, vocab, seed, device, dtype)
    got = filtered(logits, torch.full((rows,), vocab, device=device), settings)
    expected = sampled_probabilities(logits, settings)
    assert torch.equal(got > 0, expected > 0)
    torch.testing.assert_close(got, expected, rtol=2e-5, atol=1e-7)


def test_ties_at_the_edge_of_p_leave_the_lowest_ids(device: torch.device):
    logits = torch.zeros(3, 10, device=device)
    logits[:, 4] = 1.0
    settings = SamplingBatch.of(
        temperature=[1.0] * 3,
        top_k=[0, 0, 3],
        top_p=[0.45, 0.95, 0.9],
        seeds=[0] * 3,
        positions=[0] * 3,
        device=device,
    )
    got = filtered(logits, torch.full((3,), 10, device=device), settings)
    expected = filter_scores(logits, settings).softmax(dim=1)
    assert torch.equal(got > 0, expected > 0)
    assert (got[0] > 0).nonzero().flatten().tolist() == [0, 1, 2, 4]


def test_ids_from_the_rows_width_on_are_as_if_they_were_not_there(device: torch.device):
    settings = settings_of(6, 3, device, 40)
    logits = logits_of(6, 64, 3, device, torch.float32)
    widths = torch.tensor([40, 64, 1, 2, 40, 33], device=device)
    got = filtered(logits, widths, settings)
    for row, width in enumerate(widths.tolist()):
        alone = filtered(
            logits[row : row + 1, :width].contiguous(), widths[row : row + 1], row_of(settings, row)
        )
        torch.testing.assert_close(got[row, :width], alone[0])
        assert not got[row, width:].any()


def row_of(settings: SamplingBatch, row: int) -> SamplingBatch:
    one = slice(row, row + 1)
    return SamplingBatch(
        settings.temperature[one],
        settings.top_k[one],
        settings.top_p[one],
        settings.min_p[one],
        settings.seeds[one],
        settings.positions[one],
    )


@pytest.mark.parametrize(("vocab", "dtype"), [(5, torch.float32), (300, torch.float16), (66, torch.float32)])
def test_draws_equal_the_plain_samplers(vocab: int, dtype: torch.dtype, device: torch.device):
    for seed in range(2):
        settings = settings_of(8, seed, device, vocab)
        logits = logits_of(8, vocab, seed, device, dtype)
        assert torch.equal(draw(logits, settings), sample(logits, settings))


@pytest.mark.parametrize("seed", [0, 1])
def test_guided_draws_equal_the_plain_samplers(seed: int, device: torch.device):
    vocab = 128
    settings = settings_of(6, seed, device, vocab)
    logits = logits_of(6, vocab, seed, device, torch.float32)
    guidance = Guidance(
        uncond_index=torch.tensor([3, 1, 4, 3, 4, 5], device=device),
        weight=torch.tensor([0.3, 0.0, 0.9, 0.0, 0.0, 0.0], device=device),
        cond_index=torch.tensor([0, 1, 2, 0, 2, 5], device=device),
    )
    positions = settings.positions[guidance.cond_index]
    guided = replace(settings, positions=positions, guidance=guidance)
    got = draw(logits, guided)
    assert torch.equal(got, sample(logits, guided))
    assert got[0] == got[3]
    assert got[2] == got[4]


def test_rows_write_their_draw_and_move_on(device: torch.device):
    vocab, rows, total = 32, 5, 9
    settings = settings_of(rows, 8, device, vocab)
    logits = logits_of(rows, vocab, 8, device, torch.float32)
    places = torch.tensor([3, 0, 7, 2, 4], device=device)
    slots = torch.tensor([4, 0, 2, 1, 5], device=device)
    tokens = torch.arange(6 * total, device=device).view(6, total) + 1000
    forced = torch.zeros(6, total, dtype=torch.bool, device=device)
    forced[0, 1] = True
    advances = torch.tensor([1, 1, 1, 1, 0], device=device)
    # Row 3 may draw ids below 1 only: every draw becomes the end.
    eos_from = torch.tensor([vocab, vocab, vocab, 0, vocab], device=device)
    every = torch.arange(rows, device=device)
    draw_rows = SamplingColumns(
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
        settings.seeds,
        places.clone(),
        torch.full_like(every, vocab),
        every,
        every,
        torch.zeros(rows, device=device),
    )
    drawn = torch.empty(rows, dtype=torch.int64, device=device)
    before = tokens.clone()
    draw_onto(logits, draw_rows, Board(tokens, forced, slots, eos_from, advances), drawn, guided=False)
    at_next = replace(settings, positions=places + 1)
    plain = sample(logits, at_next).tolist()
    expected = [plain[0], int(before[0, 1]), plain[2], EOS_ID]
    assert drawn[:4].tolist() == expected
    assert draw_rows.positions.tolist() == [4, 1, 8, 3, 4]
    for row in range(4):
        before[slots[row], places[row] + 1] = expected[row]
    assert torch.equal(tokens, before)


@pytest.mark.parametrize(
    ("vocab", "blocks"),
    [
        (1, (1, 1)),
        (5, (4, 1)),
        (8192, (8192, 1)),
        (16448, (16384, 64)),
        (18560, (16384, 4096)),
        (9000, (8192, 1024)),
    ],
)
def test_blocks_hold_the_vocabulary(vocab: int, blocks: tuple[int, int]):
    assert blocks_for(vocab) == blocks
    assert sum(blocks) >= vocab


def test_a_vocabulary_beyond_one_program_is_refused(device: torch.device):
    settings = settings_of(1, 0, device, 10)
    with pytest.raises(ValueError, match="at most"):
        draw(torch.zeros(1, 70_000, device=device), settings)
