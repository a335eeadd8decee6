"""Draws: what they follow, what they depend on, and what they must not depend on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from model.network.cache import KeyValueCache
from model.network.sampler import (
    Guidance,
    SamplingBatch,
    filter_scores,
    noise,
    random_bits,
    sample,
    sampled_probabilities,
)
from tests.support.architectures import read_transformer
from tests.support.decoding import decode


def rows_of(number: int, **settings: list[float] | list[int]) -> SamplingBatch:
    defaults = {
        "temperature": [1.0] * number,
        "top_k": [0] * number,
        "top_p": [1.0] * number,
        "seeds": list(range(number)),
        "positions": [0] * number,
    }
    return SamplingBatch.of(**{**defaults, **settings})


@pytest.mark.parametrize("name", ["tiny_v1", "tiny_v2"])
@pytest.mark.parametrize(
    ("top_k", "top_p", "temperature"), [(0, 0.5, 0.7), (16, 0.9, 1.0), (32, 0.99, 1.0), (5, 1.0, 1.3)]
)
def test_filter_equals_the_recorded_probabilities(
    name: str, top_k: int, top_p: float, temperature: float, request: pytest.FixtureRequest
):
    folder: Path = request.getfixturevalue(name)
    expected = load_file(folder / "expected.safetensors")
    logits = expected["filter.logits"]
    count = len(logits)
    batch = rows_of(count, temperature=[temperature] * count, top_k=[top_k] * count, top_p=[top_p] * count)
    got = filter_scores(logits, batch).softmax(dim=1)
    recorded = expected[f"filter.k{top_k}_p{top_p}_t{temperature}"]
    torch.testing.assert_close(got, recorded, rtol=1e-5, atol=1e-7)


def test_guided_probabilities_equal_the_recorded_ones(tiny_v2: Path):
    expected = load_file(tiny_v2 / "expected.safetensors")
    network = read_transformer(tiny_v2)
    config = network.config
    wrapped = next(
        entry["wrapped_l"]
        for entry in json.loads((tiny_v2 / "expected.json").read_text())["tokenize"]
        if entry["text"] == "красный круг на белом фоне"
    )
    special = json.loads((tiny_v2 / "expected.json").read_text())["special_tokens"]
    length = config.left_text_length
    prompted = [2, special["<LT_T2I>"], *wrapped[1:]][:length]
    unprompted = [2, special["<LT_UNK>"], 3] + [0] * (length - 3)
    codes = expected["text2image.greedy.0"][0]
    cache = KeyValueCache(config, 2, 2)
    slots = torch.arange(2)
    hidden = network.prefill(torch.tensor([prompted, unprompted]), cache, slots, slots)[:, -1]
    rows = replace(
        rows_of(2, temperature=[0.8] * 2, top_k=[16] * 2, top_p=[0.9] * 2),
        guidance=Guidance(torch.tensor([1, 1]), torch.tensor([0.3, 0.0]), torch.tensor([0, 0])),
    )
    got: list[Tensor] = []
    for cell in range(config.image_length):
        logits = network.image_logits(hidden, config.image_codebook_size)
        got.append(sampled_probabilities(logits, rows)[0])
        places = torch.full((2,), length + cell)
        hidden = decode(network, codes[cell].expand(2), places, cache, slots, slots)
    recorded = expected["guidance.w0.3_k16_p0.9_t0.8.probs"]
    torch.testing.assert_close(torch.stack(got), recorded, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (40, 1.0), (0, 0.9), (40, 0.9)])
@pytest.mark.parametrize("min_p", [0.0, 0.02, 0.3, 1.0])
def test_min_p_drops_what_is_below_its_share_of_the_largest_after_top_k_and_top_p(
    min_p: float, top_k: int, top_p: float
):
    logits = torch.randn(20, 100, generator=torch.Generator().manual_seed(4)) * 2
    settings = {"temperature": [0.8] * 20, "top_k": [top_k] * 20, "top_p": [top_p] * 20}
    before = filter_scores(logits, rows_of(20, **settings)).softmax(dim=1)
    # MinPLogitsWarper of transformers: tokens below min_p times the largest probability get none.
    is_removed = before < min_p * before.amax(dim=1, keepdim=True)
    expected = before.masked_fill(is_removed, 0.0)
    expected /= expected.sum(dim=1, keepdim=True)
    got = filter_scores(logits, rows_of(20, **settings, min_p=[min_p] * 20)).softmax(dim=1)
    torch.testing.assert_close(got, expected)
    assert bool(((got > 0).sum(dim=1) == 1).all()) == (min_p == 1.0)


def test_draws_follow_the_probabilities():
    draws, vocab = 200_000, 12
    logits = torch.tensor([3.0, 2.5, 2.5, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, 1.5, 0.5, -0.5])
    rows = SamplingBatch(
        temperature=torch.full((draws,), 0.9),
        top_k=torch.full((draws,), 9),
        top_p=torch.full((draws,), 0.97),
        min_p=torch.zeros(draws),
        seeds=torch.arange(draws),
        positions=torch.zeros(draws, dtype=torch.int64),
        max_top_k=9,
    )
    counts = torch.bincount(sample(logits.expand(draws, -1), rows), minlength=vocab)
    one = rows_of(1, temperature=[0.9], top_k=[9], top_p=[0.97])
    expected = filter_scores(logits[None], one).softmax(dim=1)[0]
    assert counts[expected == 0].sum() == 0
    likely = expected > 0
    deviation = (counts - draws * expected)[likely] / (draws * expected)[likely].sqrt()
    # Chi-square with (kept − 1) degrees of freedom; its 99.99 % quantile is below 40 for up to 12.
    assert float((deviation**2).sum()) < 40
    assert likely.sum() > 5


@pytest.mark.parametrize("along", ["seeds", "positions", "tokens", "high words"])
def test_noise_is_standard_gumbel_and_uncorrelated(along: str):
    count = 400_000
    zeros = torch.zeros(count, dtype=torch.int64)
    numbers = torch.arange(count)
    draws = {
        "seeds": lambda: noise(numbers, zeros, 1)[:, 0],
        "positions": lambda: noise(zeros + 7, numbers, 1)[:, 0],
        "tokens": lambda: noise(zeros[:1] + 7, zeros[:1] + 3, count)[0],
        "high words": lambda: noise(numbers << 32, zeros, 1)[:, 0],
    }[along]()
    uniform = torch.exp(-torch.exp(-draws.double()))
    counts = torch.histc(uniform, bins=100, min=0, max=1)
    chi_square = float(((counts - count / 100) ** 2 / (count / 100)).sum())
    assert 50 < chi_square < 165, "99 degrees of freedom, 99.99 % inside"
    centred = uniform - uniform.mean()
    for lag in (1, 2, 3, 16, 256):
        correlation = float((centred[lag:] * centred[:-lag]).mean() / centred.var())
        assert abs(correlation) < 4.5 / count**0.5


def test_random_bits_repeat_the_documented_arithmetic():
    word = 0xFFFFFFFF

    def mix(x: int) -> int:
        x = (x ^ (x >> 16)) * 0x7FEB352D & word
        x = (x ^ (x >> 15)) * 0x846CA68B & word
        return x ^ (x >> 16)

    seeds, positions = [0, 1, 2**63 - 1, 0x1234567890ABCDEF], [0, 319, 5, 64]
    got = random_bits(torch.tensor(seeds), torch.tensor(positions), 50)
    for row, (seed, position) in enumerate(zip(seeds, positions, strict=True)):
        a = mix((seed + 0x9E3779B9) & word)
        b = mix((seed >> 32) ^ a)
        key0 = mix(position ^ b)
        key1 = (mix(key0 ^ a) + 0x9E3779B9) & word
        expected = [mix((mix(token ^ key0) + key1) & word) for token in range(50)]
        assert [value & word for value in got[row].tolist()] == expected


def test_noise_is_finite_at_both_ends():
    values = noise(torch.arange(2000), torch.zeros(2000, dtype=torch.int64), 500)
    assert values.isfinite().all()
    assert values.max() > 12


def test_batch_mates_and_batch_size_change_nothing():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(9, 300, generator=generator) * 2
    settings = {
        "temperature": [1.0, 0.7, 1.3, 0.9, 1.0, 1.0, 0.8, 1.0, 1.1],
        "top_k": [0, 5, 1, 64, 200, 0, 7, 768, 1],
        "top_p": [1.0, 0.9, 1.0, 0.8, 0.99, 0.5, 1.0, 0.99, 0.3],
        "min_p": [0.0, 0.1, 0.0, 0.05, 0.01, 0.0, 0.5, 0.02, 1.0],
        "seeds": [5, 6, 7, 2**62, 9, 5, 5, 2**63 - 1, 0],
        "positions": [1, 2, 3, 4, 5, 300, 64, 65, 66],
    }
    together = sample(logits, rows_of(9, **settings))
    for row in range(9):
        alone = rows_of(1, **{name: values[row : row + 1] for name, values in settings.items()})
        assert sample(logits[row : row + 1], alone)[0] == together[row]
    order = torch.randperm(9, generator=generator)
    shuffled = {name: [values[row] for row in order] for name, values in settings.items()}
    assert torch.equal(sample(logits[order], rows_of(9, **shuffled)), together[order])


def test_other_seed_or_position_draws_anew():
    logits = torch.zeros(1, 1000).expand(50, -1)
    by_seed = sample(logits, rows_of(50, seeds=list(range(50))))
    by_position = sample(logits, rows_of(50, seeds=[3] * 50, positions=list(range(50))))
    assert len(set(by_seed.tolist())) > 40
    assert len(set(by_position.tolist())) > 40


@pytest.mark.parametrize("alone", [True, False])
def test_greedy_row_takes_the_largest_logit_and_of_equal_ones_the_lowest_id(alone: bool):
    logits = torch.tensor([[0.0, 3.0, 1.0, 3.0, 3.0]] * 40)
    top_k = [1] * 40 if alone else [1] * 39 + [5]
    assert set(sample(logits, rows_of(40, top_k=top_k))[:39].tolist()) == {1}


def test_pair_shares_the_prompted_draw_and_greedy_guidance_keeps_two_codes():
    count = 400
    logits = torch.tensor([[4.0, 1.0, 0.0, 0.0], [0.0, 1.0, 5.0, 0.0]]).repeat(count, 1)
    even = torch.arange(0, 2 * count, 2).repeat_interleave(2)
    own = torch.arange(2 * count)
    guidance = Guidance(even + 1, torch.where(own % 2 == 0, 0.25, 0.0), even)
    seeds = [row // 2 for row in range(2 * count)]
    rows = rows_of(2 * count, top_k=[1] * (2 * count), seeds=seeds)
    drawn = sample(logits, replace(rows, guidance=guidance))
    assert torch.equal(drawn[::2], drawn[1::2])
    assert set(drawn.tolist()) == {0, 2}
    assert abs(float((drawn[::2] == 2).float().mean()) - 0.25) < 0.09
    whole = Guidance(even + 1, torch.where(own % 2 == 0, 1.0, 0.0), even)
    assert set(sample(logits, replace(rows, guidance=whole)).tolist()) == {2}


def test_guided_mates_change_no_other_row():
    logits = torch.randn(500, 40, generator=torch.Generator().manual_seed(3))
    plain = rows_of(500, top_k=[1, 9] * 250, top_p=[0.9] * 500)
    own = torch.arange(500)
    unprompted, prompted = own.clone(), own.clone()
    unprompted[0], prompted[1] = 1, 0
    weight = torch.zeros(500)
    weight[0] = 0.4
    guided = replace(plain, guidance=Guidance(unprompted, weight, prompted))
    assert torch.equal(sample(logits, guided)[2:], sample(logits, plain)[2:])


@pytest.mark.parametrize("shape", [(6,), (50, 6)])
def test_only_allowed_ids_are_drawn(shape: tuple[int, ...]):
    allowed = torch.tensor([False, True, False, True, False, False]).expand(shape)
    logits = torch.tensor([[9.0, 1.0, 8.0, 1.5, 0.0, 0.0]] * 50)
    assert set(sample(logits, rows_of(50), allowed).tolist()) == {1, 3}
    assert set(sample(logits, rows_of(50, top_k=[1] * 50), allowed).tolist()) == {3}


def test_sampling_asks_nothing_of_the_device():
    rows = replace(
        rows_of(3, top_k=[5, 1, 7], top_p=[0.9, 1.0, 0.5]),
        guidance=Guidance(
            *(torch.zeros(3, device="meta").to(kind) for kind in (torch.int64, torch.float32, torch.int64))
        ),
    )
    tensors = ("temperature", "top_k", "top_p", "min_p", "seeds", "positions")
    rows = replace(rows, **{name: getattr(rows, name).to("meta") for name in tensors})
    allowed = torch.ones(90, dtype=torch.bool, device="meta")
    assert sample(torch.zeros(3, 90, device="meta"), rows, allowed).shape == (3,)
