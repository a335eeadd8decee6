"""Linear layers in C, against plain ones in float32, and against themselves in other company."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

from model.backends.x86 import is_available
from model.backends.x86.linear import (
    LANES,
    Arithmetic,
    PanelLinear,
    WeightFormat,
    fastest_arithmetic,
)
from tests.model.backends.x86.arithmetics import Way, format_of, instructions, using, ways

pytestmark = pytest.mark.skipif(not is_available(), reason="this processor has no AVX2")

SMALLEST_KEPT = 2**-12
"""Of the largest weight among the outputs of a panel; twelve bits hold no smaller ones."""


def linear_of(in_features: int, out_features: int) -> nn.Linear:
    torch.manual_seed(in_features + out_features)
    return nn.Linear(in_features, out_features).bfloat16().requires_grad_(False)


def panels_of(linear: nn.Linear, *, gelu: bool = False, arithmetic: Arithmetic | None = None) -> PanelLinear:
    weight_format = WeightFormat.AUTO if arithmetic is None else format_of(arithmetic)
    return PanelLinear(linear.weight, linear.bias, gelu=gelu, weight_format=weight_format)


@pytest.fixture(params=ways(), ids=str)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Each way to multiply, with its instructions in use."""
    with using(request.param.instructions):
        yield request.param


@pytest.fixture(params=instructions())
def each_instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    """The instructions in use."""
    with using(request.param):
        yield request.param


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 12, 13, 16, 71, 72, 73, 203])
@pytest.mark.parametrize(("in_features", "out_features"), [(8, 1), (48, 80), (64, 32), (136, 33), (256, 100)])
def test_product_equals_the_plain_one(rows: int, in_features: int, out_features: int, way: Way):
    linear = linear_of(in_features, out_features)
    x = torch.randn(rows, in_features).bfloat16()
    expected = functional.linear(x.float(), linear.weight.float(), linear.bias.float())
    got = panels_of(linear, arithmetic=way.arithmetic)(x)
    assert got.dtype is torch.bfloat16
    # What is left is the rounding of the result itself, half a unit in the last of eight bits.
    torch.testing.assert_close(got.float(), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.usefixtures("each_instructions")
def test_gelu_is_the_one_with_tanh():
    linear = linear_of(48, 80)
    x = 5 * torch.randn(200, 48).bfloat16()
    product = functional.linear(x.float(), linear.weight.float(), linear.bias.float())
    expected = functional.gelu(product, approximate="tanh")
    got = panels_of(linear, gelu=True, arithmetic=Arithmetic.FP32_FMA)(x).float()
    torch.testing.assert_close(got, expected, rtol=2**-8, atol=1e-5)
    assert (functional.gelu(product) - expected).abs().max() > 1e-4, "the test must tell the two apart"


@pytest.mark.usefixtures("each_instructions")
def test_gelu_of_large_numbers_is_finite():
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
        linear.bias.zero_()
    x = torch.tensor([[1e4, -1e4], [3e38, -3e38], [30.0, -30.0]])
    got = PanelLinear(linear.weight, linear.bias, gelu=True)(x)
    torch.testing.assert_close(got.float(), x.bfloat16().float().clamp(min=0), rtol=0, atol=0)


def test_rows_of_any_shape_and_layout_are_taken():
    linear = panels_of(linear_of(48, 80))
    x = torch.randn(9, 2, 48)
    assert torch.equal(linear(x)[:, 1], linear(x[:, 1]))
    assert linear(x[:0]).shape == (0, 2, 80)


@pytest.mark.usefixtures("each_instructions")
@pytest.mark.parametrize("in_features", [2, 130])
def test_any_even_number_of_inputs_is_taken(in_features: int):
    linear = linear_of(in_features, 33)
    x = torch.randn(9, in_features).bfloat16()
    expected = functional.linear(x.float(), linear.weight.float(), linear.bias.float())
    torch.testing.assert_close(panels_of(linear)(x).float(), expected, rtol=2**-8, atol=3e-3)


def test_odd_inputs_are_refused():
    with pytest.raises(ValueError, match="multiple of 2"):
        PanelLinear(torch.zeros(4, 3), torch.zeros(4))
    with pytest.raises(ValueError, match="multiple of 8"):
        PanelLinear(torch.zeros(4, 12), torch.zeros(4), weight_format=WeightFormat.PACKED12)


def test_ways_to_the_same_sums_differ_by_a_rounding_at_most():
    linear = linear_of(1024, 300)
    smallest = linear.weight.abs().max() * SMALLEST_KEPT
    linear.weight.copy_(linear.weight.sign() * linear.weight.abs().clamp(min=smallest))
    x = torch.randn(203, 1024).bfloat16()
    products: list[torch.Tensor] = []
    for name, arithmetic in ways():
        with using(name):
            products.append(panels_of(linear, arithmetic=arithmetic)(x).float())
    for other in products[1:]:
        # On Intel's processors all bits are equal; no test should rest on that of others.
        torch.testing.assert_close(other, products[0], rtol=2**-7, atol=1e-6)
        assert (other != products[0]).double().mean() < 0.001


@pytest.mark.parametrize(
    ("has_fast_dot", "expected"), [(True, Arithmetic.BF16_DOT), (False, Arithmetic.FP32_FMA)]
)
def test_flags_decide(monkeypatch: pytest.MonkeyPatch, *, has_fast_dot: bool, expected: Arithmetic):
    monkeypatch.setattr("model.backends.x86._kernels.has_fast_bf16_dot", lambda: has_fast_dot)
    assert fastest_arithmetic() is expected


def test_avx2_has_one_way_for_bfloat16():
    with using("avx2"):
        assert fastest_arithmetic() is Arithmetic.FP32_FMA
    assert [way.arithmetic for way in ways() if way.instructions == "avx2"] == [Arithmetic.FP32_FMA]


def test_weights_in_twelve_bits_are_refused_where_nothing_reads_them():
    with using("avx2"), pytest.raises(NotImplementedError, match="no weights of 12 bits"):
        PanelLinear(torch.zeros(4, 8), torch.zeros(4), weight_format=WeightFormat.PACKED12)


def test_instructions_that_are_not_there_are_refused():
    from model.backends.x86 import _kernels

    with pytest.raises(ValueError, match="no instructions 'sse'"):
        _kernels.use("sse")
    with pytest.raises(TypeError, match="a string"):
        _kernels.use(2)  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(
    all(arithmetic is not Arithmetic.BF16_DOT for _, arithmetic in ways()),
    reason="this processor has no AVX512-BF16",
)
class TestPairs:
    """Weights in twelve bits. Rows of the identity bring each of them out as it is kept."""

    @staticmethod
    def kept(weight: torch.Tensor) -> torch.Tensor:
        layer = PanelLinear(weight, torch.zeros(len(weight)), weight_format=WeightFormat.PACKED12)
        return layer(torch.eye(weight.shape[1])).T

    @pytest.mark.parametrize("size", [1.0, 1e-20, 1e30])
    def test_all_but_the_smallest_weights_stay_what_they_are(self, size: float):
        torch.manual_seed(0)
        weight = (size * torch.randn(48, 256) * torch.exp2(-18 * torch.rand(48, 256))).bfloat16()
        largest = weight.abs().unflatten(0, (-1, LANES)).amax(dim=(1, 2)).repeat_interleave(LANES)[:, None]
        is_small = weight.abs() < SMALLEST_KEPT * largest
        assert 0.1 < is_small.double().mean() < 0.9, "the test must see both"
        kept = self.kept(weight)
        assert torch.equal(kept[~is_small], weight[~is_small])
        error = (kept.double() - weight.double()).abs()
        assert (error <= SMALLEST_KEPT / 2 * largest.double()).all()
        assert not (kept.sign() * weight.sign() < 0).any()

    def test_small_ones_go_to_the_nearer_end(self):
        weight = torch.zeros(16, 8)
        least = 2**-13  # of weights from 2^-1 to 2 that are the largest
        weight[0] = least * torch.tensor([2**12, 1.0, -0.5, 0.75, 0.49, 2**-20, -0.0, 0.0])
        expected = least * torch.tensor([2**12, 1.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
        assert torch.equal(self.kept(weight)[0].float(), expected)

    def test_zeros_and_the_smallest_numbers_of_all(self):
        weight = torch.full((16, 8), 0.0)
        assert torch.equal(self.kept(weight), weight.bfloat16())
        weight[3, 2] = 2.0**-120
        assert torch.equal(self.kept(weight), weight.bfloat16())

    def test_loss_is_far_below_the_roundings_of_bfloat16(self):
        torch.manual_seed(0)
        weight = torch.randn(320, 1024)
        weight[5, 7] = 30.0
        rounded = weight.bfloat16()
        assert (self.kept(rounded).double() - rounded.double()).norm() < 0.1 * (
            rounded.double() - weight.double()
        ).norm()


def test_mates_change_no_bit_of_a_product(way: Way):
    linear = panels_of(linear_of(256, 300), gelu=True, arithmetic=way.arithmetic)
    x = torch.randn(203, 256)
    together = linear(x)
    for count in (1, 2, 5, 8, 12, 17, 72, 100):
        for start in range(0, 203 - count + 1, count):
            assert torch.equal(linear(x[start : start + count]), together[start : start + count])


# Int8 -------------------------------------------------------------------------------------------------


def int8_of(linear: nn.Linear, *, gelu: bool = False) -> PanelLinear:
    return PanelLinear(linear.weight, linear.bias, gelu=gelu, weight_format=WeightFormat.INT8)


@pytest.mark.usefixtures("num_threads", "each_instructions")
@pytest.mark.parametrize("rows", [1, 7, 8, 12, 17, 73, 203])
@pytest.mark.parametrize(("in_features", "out_features"), [(16, 1), (48, 80), (4096, 33), (256, 100)])
def test_int8_product_is_the_one_of_rounded_numbers(rows: int, in_features: int, out_features: int):
    linear = linear_of(in_features, out_features)
    x = torch.randn(rows, in_features).bfloat16()
    scales = x.float().abs().amax(dim=1, keepdim=True) / 127
    whole = (x.float() * (1 / scales)).round().double()
    weight_scales = linear.weight.float().abs().amax(dim=1) / 127
    whole_weight = (linear.weight.float() / weight_scales[:, None]).round().double()
    expected = (whole @ whole_weight.T) * scales * weight_scales + linear.bias
    torch.testing.assert_close(int8_of(linear)(x).double(), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.usefixtures("each_instructions")
def test_int8_product_is_near_the_plain_one():
    linear = linear_of(256, 300)
    x = torch.randn(203, 256).bfloat16()
    expected = functional.linear(x.float(), linear.weight.float(), linear.bias.float())
    assert (int8_of(linear)(x) - expected).norm() < 0.015 * expected.norm()
    gelu = functional.gelu(expected, approximate="tanh")
    assert (int8_of(linear, gelu=True)(x) - gelu).norm() < 0.015 * gelu.norm()


@pytest.mark.usefixtures("each_instructions")
def test_int8_rows_are_their_own():
    linear = int8_of(linear_of(256, 300))
    x = torch.randn(100, 256)
    together = linear(torch.cat([x, 1000 * x]))[:100]
    for row in range(100):
        assert torch.equal(linear(x[row]), together[row])


@pytest.mark.usefixtures("each_instructions")
def test_int8_rows_and_outputs_of_zeros_give_the_bias():
    linear = linear_of(48, 80)
    with torch.no_grad():
        linear.weight[3] = 0
    layer = int8_of(linear)
    assert torch.equal(layer(torch.zeros(3, 48)), linear.bias.expand(3, -1))
    assert torch.equal(layer(torch.randn(3, 48))[:, 3], linear.bias[3].expand(3))
