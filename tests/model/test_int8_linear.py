"""Linear layers of whole numbers against plain ones."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from model.kernels.cpu_linear import Int8Linear, can_pack_int8

pytestmark = pytest.mark.skipif(
    not can_pack_int8(), reason="torch multiplies no int8 weights on this processor"
)


def packed_int8(linear: nn.Linear, *, gelu: bool = False) -> Int8Linear:
    return Int8Linear(linear.weight, linear.bias, gelu=gelu)


def linear_of(in_features: int = 48, out_features: int = 80) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(in_features, out_features).requires_grad_(False)


@pytest.mark.parametrize("shape", [(48,), (1, 48), (3, 5, 48), (70, 48)])
def test_product_is_near_the_plain_one(shape: tuple[int, ...]) -> None:
    linear = linear_of()
    x = torch.randn(shape)
    error = packed_int8(linear)(x) - linear(x)
    assert error.norm() / linear(x).norm() < 0.02


def test_row_has_the_same_bits_alone_and_among_others() -> None:
    layer = packed_int8(linear_of())
    x = torch.randn(33, 48)
    together = layer(x)
    for row in range(33):
        assert torch.equal(layer(x[row : row + 1])[0], together[row])


def test_scale_of_a_row_is_its_own() -> None:
    layer, x = packed_int8(linear_of()), torch.randn(2, 48)
    loud = torch.stack([x[0], 1000 * x[1]])
    assert torch.equal(layer(loud)[0], layer(x)[0])


def test_row_of_zeros_gives_the_bias() -> None:
    linear = linear_of()
    assert torch.equal(packed_int8(linear)(torch.zeros(3, 48)), linear.bias.expand(3, -1))


def test_gelu_is_the_one_with_tanh() -> None:
    linear = linear_of()
    x = 3 * torch.randn(200, 48)
    expected = functional.gelu(packed_int8(linear)(x), approximate="tanh")
    assert torch.equal(packed_int8(linear, gelu=True)(x), expected)


def test_result_has_the_dtype_of_the_weights() -> None:
    assert packed_int8(linear_of().bfloat16())(torch.randn(5, 48)).dtype is torch.bfloat16
