"""The kernels in C, against the plain network in float32, and against themselves in other company."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from model.blocks import Block
from model.config import ModelConfig
from model.kernels.avx512 import is_available
from model.kernels.avx512.linear import PanelLinear
from model.kv_cache import KeyValueCache
from model.precision import has_native_bfloat16
from model.transformer import Transformer
from tests.model.architectures import random_ids, random_transformer

pytestmark = pytest.mark.skipif(not is_available(), reason="this processor has no AVX512-BF16")

TOLERANCE = 0.008
"""Of a position's norm. Both sides round at the same places; sums in another order flip a bit at times."""


def test_kernels_are_there_where_the_processor_is():
    # Otherwise a machine without a C compiler would skip this file without a word.
    assert is_available()
    assert has_native_bfloat16()


@pytest.fixture(params=[1, 2, 3])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# Products ----------------------------------------------------------------------------------------------


def linear_of(in_features: int, out_features: int) -> nn.Linear:
    torch.manual_seed(in_features + out_features)
    return nn.Linear(in_features, out_features).bfloat16().requires_grad_(False)


def panels_of(linear: nn.Linear, *, gelu: bool = False) -> PanelLinear:
    return PanelLinear(linear.weight, linear.bias, gelu=gelu)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 16, 95, 96, 97, 203])
@pytest.mark.parametrize(("in_features", "out_features"), [(2, 1), (48, 80), (64, 32), (130, 33), (256, 100)])
def test_product_equals_the_plain_one(rows: int, in_features: int, out_features: int):
    linear = linear_of(in_features, out_features)
    x = torch.randn(rows, in_features).bfloat16()
    expected = functional.linear(x.float(), linear.weight.float(), linear.bias.float())
    got = panels_of(linear)(x)
    assert got.dtype is torch.bfloat16
    # What is left is the rounding of the result itself, half a unit in the last of eight bits.
    torch.testing.assert_close(got.float(), expected, rtol=2**-8, atol=1e-5)


def test_gelu_is_the_one_with_tanh():
    linear = linear_of(48, 80)
    x = 5 * torch.randn(200, 48).bfloat16()
    product = functional.linear(x.float(), linear.weight.float(), linear.bias.float())
    expected = functional.gelu(product, approximate="tanh")
    torch.testing.assert_close(panels_of(linear, gelu=True)(x).float(), expected, rtol=2**-8, atol=1e-5)
    assert (functional.gelu(product) - expected).abs().max() > 1e-4, "the test must tell the two apart"


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


def test_odd_inputs_are_refused():
    with pytest.raises(ValueError, match="pairs"):
        PanelLinear(torch.zeros(4, 3), torch.zeros(4))


def test_mates_change_no_bit_of_a_product():
    linear = panels_of(linear_of(256, 300), gelu=True)
    x = torch.randn(203, 256)
    together = linear(x)
    for count in (1, 2, 5, 8, 17, 100):
        for start in range(0, 203 - count + 1, count):
            assert torch.equal(linear(x[start : start + count]), together[start : start + count])


# The network -------------------------------------------------------------------------------------------


@st.composite
def shapes(draw: st.DrawFn) -> ModelConfig:
    """Widths of whole vectors, heads that fill no group of four, sizes that fill no vector."""
    heads, head_size = draw(st.sampled_from([(1, 16), (2, 24), (3, 16), (4, 64), (5, 48), (6, 8), (1, 128)]))
    return ModelConfig(
        num_layers=draw(st.integers(1, 7)),
        hidden_size=heads * head_size,
        num_heads=heads,
        left_text_length=draw(st.integers(1, 9)),
        image_width=draw(st.integers(2, 7)),
        right_text_length=draw(st.integers(1, 9)),
        kernel_size=draw(st.sampled_from([1, 3, 5, 7])),
        last_kernel_size=draw(st.sampled_from([3, 5, 9])),
        bpe_vocab_size=30,
        image_codebook_size=20,
    )


def both_of(config: ModelConfig, seed: int) -> tuple[Transformer, Transformer]:
    """A network in float32, and the same in C; the weights of both are bfloat16's."""
    network = random_transformer(config, seed).bfloat16()
    plain = random_transformer(config, seed).bfloat16().float()
    network.pack()
    assert network._packed is not None
    assert network._packed.stack is not None
    return plain, network


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().float()


def written_out(plain: Transformer, network: Transformer, ids: Tensor) -> Tensor:
    """Hidden states of whole sequences by the full masks, rounded wherever the kernels store bfloat16."""
    x = network._embed_rows(ids, 0).float()
    rows, length, hidden = x.shape
    for kind, block in zip(plain.kinds, plain.transformer.layers, strict=True):
        assert isinstance(block, Block)
        mask = plain.get_buffer(f"{kind}_mask")[:length, :length]
        fused = rounded(block.attention.query_key_value(rounded(block.input_layernorm(x))))
        heads = fused.view(rows, length, 3, plain.config.num_heads, plain.config.head_size)
        query, key, value = heads.unbind(2)
        scores = torch.einsum("rqhd,rkhd->rhqk", query, key) / plain.config.head_size**0.5
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        context = rounded(torch.einsum("rhqk,rkhd->rqhd", weights, value)).reshape(rows, length, hidden)
        x = x + block.before_first_addition_layernorm(block.attention.dense(context))
        mlp = block.mlp
        inner = rounded(mlp.gelu(mlp.dense_h_to_4h(rounded(block.post_attention_layernorm(x)))))
        x = x + block.before_second_addition_layernorm(mlp.dense_4h_to_h(inner))
    return x


def near(got: Tensor, expected: Tensor) -> bool:
    """Whether every position's hidden state is near enough."""
    return bool(((got - expected).norm(dim=-1) <= TOLERANCE * expected.norm(dim=-1)).all())


@settings(derandomize=True, max_examples=25, deadline=None)
@given(shapes(), st.integers(0, 10_000))
def test_every_way_equals_the_full_forward_at_every_position(config: ModelConfig, seed: int):
    plain, network = both_of(config, seed)
    ids = random_ids(config, 2, seed)
    expected = written_out(plain, network, ids)
    with torch.inference_mode():
        whole = network.encode(ids)
        assert near(whole, expected)
        cache, slots = KeyValueCache(config, 3, 2, dtype=torch.bfloat16), torch.tensor([1, 0])
        for position in range(config.total_length):
            places = torch.full((2,), position)
            stepped = network.decode(ids[:, position], places, cache, slots + 1, slots)
            assert torch.equal(stepped, whole[:, position]), f"a step at {position} is not what a prompt is"


@settings(derandomize=True, max_examples=25, deadline=None)
@given(shapes(), st.integers(0, 10_000), st.data())
def test_a_prompt_in_parts_is_the_prompt(config: ModelConfig, seed: int, data: st.DataObject):
    _, network = both_of(config, seed)
    ids = random_ids(config, 2, seed)
    cache, slots = KeyValueCache(config, 2, 2, dtype=torch.bfloat16), torch.arange(2)
    cut = data.draw(st.integers(1, config.total_length - 1))
    with torch.inference_mode():
        whole = network.encode(ids)
        first = network.prefill(ids[:, :cut], cache, slots, slots)
        before = [pool.clone() for pool in (*cache.left, *cache.body)]
        read = network.encode(ids[:, cut:], start=cut, cache=cache, left_slots=slots, slots=slots)
        after = (*cache.left, *cache.body)
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True)), "it wrote"
        second = network.prefill(ids[:, cut:], cache, slots, slots, start=cut)
    assert torch.equal(torch.cat([first, read], dim=1), whole)
    assert torch.equal(read, second)


def test_one_key_too_few_is_told_apart():
    # The tolerance above means something only as long as this fails it.
    config = ModelConfig(4, 64, 4, 6, 5, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    plain, network = both_of(config, 3)
    ids = random_ids(config, 1, 3)
    assert near(network.encode(ids), written_out(plain, network, ids))
    for kind in set(plain.kinds):
        mask = plain.get_buffer(f"{kind}_mask")
        cell = config.image_start + 12
        mask[cell, mask[cell].nonzero()[-2]] = False
    assert not near(network.encode(ids), written_out(plain, network, ids))


@pytest.mark.usefixtures("num_threads")
def test_mates_and_threads_change_no_bit_of_a_row():
    config = ModelConfig(4, 256, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    _, network = both_of(config, 9)
    num_rows = 20
    ids = random_ids(config, num_rows, 9)
    ids[:, :6] = ids[0, :6]
    positions = torch.arange(num_rows) + 6
    slots, left_slots = torch.arange(num_rows), torch.zeros(num_rows, dtype=torch.int64)
    cache = KeyValueCache(config, 3, num_rows, dtype=torch.bfloat16)
    network.prefill(ids, cache, left_slots, slots)
    newest = ids[torch.arange(num_rows), positions]
    together = network.decode(newest, positions, cache, left_slots, slots)
    for mates in (1, 2, 7):
        for start in range(0, num_rows - mates + 1, mates):
            some = slice(start, start + mates)
            got = network.decode(newest[some], positions[some], cache, left_slots[some], slots[some])
            assert torch.equal(got, together[some])


def test_texts_read_the_picture_that_they_share_and_their_own_words():
    config = ModelConfig(4, 64, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    _, network = both_of(config, 4)
    ids = random_ids(config, 3, 4)
    ids[:, : config.right_start] = ids[0, : config.right_start]
    slots = torch.arange(3)
    cache = KeyValueCache(config, 3, 3, dtype=torch.bfloat16)
    network.prefill(ids, cache, slots, slots)
    positions = torch.tensor([22, 24, 26])
    newest = ids[slots, positions]
    own = network.decode(newest, positions, cache, slots, slots)
    for pool in cache.body:
        pool[1:, : config.image_length] = 0
    shared = network.decode(newest, positions, cache, slots, slots, picture_slots=torch.zeros_like(slots))
    assert torch.equal(own, shared)
    assert not torch.equal(network.decode(newest, positions, cache, slots, slots), shared)


def test_a_cache_of_other_numbers_is_refused():
    config = ModelConfig(1, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    _, network = both_of(config, 4)
    slot = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="bfloat16"):
        network.decode(slot, slot + 9, KeyValueCache(config, 1, 1), slot, slot)
