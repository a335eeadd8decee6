"""Products of a few rows: against the library's, and the same bits for a sequence in any batch."""

from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.backends.cuda.fused_step import FusedStep, StepInputs
from model.backends.cuda.triton_product import MAX_ROW_BYTES, MAX_ROWS, AddAndNorm, few_rows_product
from model.config import ModelConfig
from model.network.cache import KeyValueCache
from tests.support.architectures import random_ids, random_transformer
from tests.support.decoding import decode

_MATMUL = numpy.matmul
CONFIG = ModelConfig(1, 24, 2, 3, 3, 5, 3, 5, 20, 12, text_special_tokens=6, image_special_tokens=4)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm_of(size: int, seed: int, device: torch.device, dtype: torch.dtype) -> nn.LayerNorm:
    norm = nn.LayerNorm(size)
    norm.weight.data.copy_(1 + random(size, seed=seed) / 4)
    norm.bias.data.copy_(random(size, seed=seed + 1) / 4)
    return norm.to(device, dtype).requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("rows", "inner", "outer"), [(1, 24, 40), (3, 16, 7), (16, 2100, 33), (5, 1024, 64)])
@pytest.mark.parametrize("gelu", [False, True])
def test_product_equals_the_librarys(
    rows: int, inner: int, outer: int, gelu: bool, dtype: torch.dtype, device: torch.device
):
    x, weight, bias = (
        part.to(device, dtype)
        for part in (random(rows, inner), random(outer, inner, seed=1) / inner**0.5, random(outer, seed=2))
    )
    expected = functional.linear(x.float(), weight.float(), bias.float())
    if gelu:
        expected = functional.gelu(expected, approximate="tanh")
    got = few_rows_product(x, weight, bias, gelu=gelu)
    assert got.dtype == dtype
    tolerance = 1e-5 if dtype is torch.float32 else 2e-3
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("twice", [False, True])
def test_layer_norms_before_a_product_equal_pytorchs(clamp: bool, twice: bool, device: torch.device):
    size, rows = 48, 6
    post, following, last = (norm_of(size, seed, device, torch.float32) for seed in (3, 5, 7))
    branch, residual = random(rows, size).to(device), random(rows, size, seed=1).to(device)
    branch[0, 0] = 1e30 if clamp else 30.0
    weight, bias = random(40, size, seed=9).to(device), random(40, seed=10).to(device)
    new_residual = torch.full_like(residual, torch.nan)
    before = AddAndNorm(branch, residual, new_residual, post, following, last if twice else None, clamp)
    kept = residual.clone()
    got = few_rows_product(before, weight, bias)
    expected = residual + post(branch.clamp(-65504.0, 65504.0) if clamp else branch)
    assert torch.equal(residual, kept)
    torch.testing.assert_close(new_residual, expected, rtol=1e-5, atol=1e-5)
    normed = last(following(expected)) if twice else following(expected)
    torch.testing.assert_close(got, functional.linear(normed, weight, bias), rtol=1e-4, atol=1e-4)


def test_rows_that_do_not_fit_are_refused(device: torch.device):
    weight, bias = torch.zeros(4, 8, device=device), torch.zeros(4, device=device)
    with pytest.raises(ValueError, match="do not fit one program"):
        few_rows_product(torch.zeros(MAX_ROWS + 1, 8, device=device), weight, bias)
    size = MAX_ROW_BYTES // 4 + 1
    wide = torch.zeros(1, size, device=device)
    norm = norm_of(size, 1, device, torch.float32)
    with pytest.raises(ValueError, match="do not fit one program"):
        few_rows_product(AddAndNorm(wide, wide, wide, norm, norm), torch.zeros(4, size, device=device), bias)


def step_of(dtype: torch.dtype, device: torch.device, seed: int = 3) -> FusedStep:
    return FusedStep(random_transformer(CONFIG, seed=seed).to(device, dtype))


def cache_of(step: FusedStep, rows: int, device: torch.device) -> tuple[KeyValueCache, Tensor]:
    network = random_transformer(CONFIG, seed=3).to(device)
    ids = random_ids(CONFIG, rows, seed=4).to(device)
    whole = KeyValueCache(CONFIG, rows, rows, device, torch.float32)
    every = torch.arange(rows, device=device)
    network.prefill(ids, whole, every, every)
    cache = KeyValueCache(CONFIG, rows, rows, device, step.tables.text.dtype)
    for mine, theirs in zip((*cache.left, *cache.body), (*whole.left, *whole.body), strict=True):
        mine.copy_(theirs)
    return cache, ids


def _row_by_row(a: numpy.ndarray, b: numpy.ndarray, dtype: Any = None) -> numpy.ndarray:
    return numpy.concatenate([_MATMUL(row[None].copy(), b, dtype=dtype) for row in a])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_sequence_has_the_same_bits_in_any_batch(
    dtype: torch.dtype, device: torch.device, monkeypatch: pytest.MonkeyPatch
):
    # The interpreter multiplies with NumPy. On some processors its library adds the products of a row in an
    # order that depends on the place of the row. A tile of a GPU does not.
    monkeypatch.setattr(numpy, "matmul", _row_by_row)
    step, rows = step_of(dtype, device), MAX_ROWS
    positions = torch.tensor([index % CONFIG.total_length for index in range(rows)], device=device)

    def logits(first: int, count: int) -> tuple[Tensor, Tensor]:
        cache, ids = cache_of(step, rows, device)
        at = torch.arange(first, first + count, device=device)
        inputs = StepInputs(ids, positions[first : first + count], at, at)
        return (
            step.logits(inputs, cache, CONFIG.image_codebook_size, is_image=True),
            step.logits(inputs, cache, 9, is_image=False),
        )

    together = logits(0, rows)
    for first, count in ((0, 1), (5, 7)):
        for mine, all_of_them in zip(logits(first, count), together, strict=True):
            assert torch.equal(mine, all_of_them[first : first + count]), (first, count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_step_of_a_few_sequences_equals_the_reference(dtype: torch.dtype, device: torch.device):
    step, exact, rows = step_of(dtype, device), random_transformer(CONFIG, seed=3).to(device), 7
    cache, ids = cache_of(step, rows, device)
    theirs, _ = cache_of(FusedStep(exact), rows, device)
    positions = torch.tensor([0, 3, CONFIG.total_length - 1, 2, 12, 8, 13], device=device)
    at = torch.arange(rows, device=device)
    expected = exact.image_logits(decode(exact, ids[at, positions], positions, theirs, at, at), 12)
    got = step.logits(StepInputs(ids, positions, at, at), cache, 12, is_image=True)
    tolerance = 1e-4 if dtype is torch.float32 else 3e-2
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=tolerance)
    for mine, other in zip((*cache.left, *cache.body), (*theirs.left, *theirs.body), strict=True):
        torch.testing.assert_close(mine.float(), other, rtol=tolerance, atol=tolerance)


def test_more_sequences_take_the_librarys_products(device: torch.device):
    step, rows = step_of(torch.float32, device), MAX_ROWS + 2
    cache, ids = cache_of(step, rows, device)
    again, _ = cache_of(step, rows, device)
    positions = torch.full((rows,), 4, device=device)
    at = torch.arange(rows, device=device)
    many = step.logits(StepInputs(ids, positions, at, at), cache, 12, is_image=True)
    few = step.logits(StepInputs(ids, positions[:5], at[:5], at[:5]), again, 12, is_image=True)
    torch.testing.assert_close(few, many[:5], rtol=1e-4, atol=1e-4)
