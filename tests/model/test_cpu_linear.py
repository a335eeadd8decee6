"""Packed linear layers against plain ones, and what they leave of a row's independence."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from model.config import ModelConfig
from model.kernels.cpu_linear import PackedLinear, can_pack
from model.kv_cache import KeyValueCache
from tests.model.architectures import random_ids, random_transformer


def linear_of(dtype: torch.dtype, in_features: int = 48, out_features: int = 80) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(in_features, out_features).to(dtype).requires_grad_(False)


def packed(linear: nn.Linear, *, gelu: bool = False) -> PackedLinear:
    return PackedLinear(linear.weight, linear.bias, gelu=gelu)


@pytest.mark.parametrize("shape", [(48,), (1, 48), (3, 5, 48), (70, 48)])
def test_packed_product_equals_the_plain_one(shape: tuple[int, ...]):
    linear = linear_of(torch.float32)
    x = torch.randn(shape)
    torch.testing.assert_close(packed(linear)(x), linear(x), rtol=1e-5, atol=1e-6)


def test_fused_gelu_is_the_one_with_tanh():
    linear = linear_of(torch.float32)
    x = 3 * torch.randn(200, 48)
    product = linear(x)
    expected = functional.gelu(product, approximate="tanh")
    assert (functional.gelu(product) - expected).abs().max() > 1e-4, "the test must tell the two apart"
    torch.testing.assert_close(packed(linear, gelu=True)(x), expected, rtol=1e-5, atol=1e-6)


def test_packed_bfloat16_takes_float32_rows():
    linear = linear_of(torch.bfloat16)
    if not can_pack(linear):
        pytest.skip("this processor has no packed bfloat16 products")
    x = torch.randn(7, 48)
    got = packed(linear)(x)
    assert got.dtype is torch.bfloat16
    torch.testing.assert_close(got, linear(x.bfloat16()), rtol=2e-2, atol=2e-2)


def test_views_that_are_not_contiguous_are_taken():
    linear = linear_of(torch.float32)
    x = torch.randn(9, 2, 48)[:, 1]
    torch.testing.assert_close(packed(linear)(x), linear(x), rtol=1e-5, atol=1e-6)


def test_half_and_meta_weights_stay_plain():
    assert not can_pack(linear_of(torch.float16))
    assert not can_pack(nn.Linear(4, 4, device="meta"))


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.bfloat16, 1e-4)])
def test_batch_mates_hardly_change_a_packed_row(dtype: torch.dtype, tolerance: float):
    # In bfloat16 the distance to float32 is a hundred times as large: mates must bring no such noise.
    # Sizes at which the library's products for one row and for many do round differently.
    config = ModelConfig(4, 256, 16, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = random_transformer(config, 9).to(dtype)
    network.pack(as_one=False)
    num_rows = 20
    ids = random_ids(config, num_rows, 9)
    ids[:, :6] = ids[0, :6]
    positions = torch.tensor([6 + row % 20 for row in range(num_rows)]).sort().values
    slots, left_slots = torch.arange(num_rows), torch.zeros(num_rows, dtype=torch.int64)
    cache = KeyValueCache(config, 3, num_rows, dtype=dtype)
    for row in range(num_rows):
        one = slice(row, row + 1)
        network.prefill(ids[one], cache, left_slots[one], slots[one])
    newest = ids[torch.arange(num_rows), positions]
    together = network.decode(newest, positions, cache, left_slots, slots)
    for mates in (1, 2, 7):
        for start in range(0, num_rows - mates + 1, mates):
            some = slice(start, start + mates)
            got = network.decode(newest[some], positions[some], cache, left_slots[some], slots[some])
            assert (got - together[some]).norm() <= tolerance * together[some].norm()
