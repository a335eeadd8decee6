"""Packed linear layers against plain ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from model.kernels.cpu_linear import can_pack, packed


def linear_of(dtype: torch.dtype, in_features: int = 48, out_features: int = 80) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(in_features, out_features).to(dtype).requires_grad_(False)


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
