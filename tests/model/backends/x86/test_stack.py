"""All layers in one call, against the plain network in float32, and against themselves in other company."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.backends.x86 import is_available
from model.backends.x86.linear import Arithmetic, WeightFormat
from model.backends.x86.network import X86Network
from model.config import ModelConfig
from model.network.blocks import Block
from model.network.cache import KeyValueCache
from model.network.transformer import Transformer
from tests.model.backends.x86.arithmetics import Way, format_of, using, ways
from tests.support.architectures import random_ids, random_transformer
from tests.support.decoding import decode

pytestmark = pytest.mark.skipif(not is_available(), reason="this processor has no AVX2")

ARITHMETIC = [Arithmetic.FP32_FMA]
"""The arithmetic of the networks that are built."""

TOLERANCE = 0.012
"""Of a position's norm. Both sides round at the same places; sums in another order flip a bit at times."""


@pytest.fixture(params=ways(), ids=str, scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Set the arithmetic of all products here, even if this processor is faster with another one."""
    with using(request.param.instructions):
        ARITHMETIC[:] = [request.param.arithmetic]
        yield request.param


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


def both_of(config: ModelConfig, seed: int) -> tuple[Transformer, X86Network]:
    """A network in float32, and the same in C; the weights of both are bfloat16's."""
    network = random_transformer(config, seed).bfloat16()
    plain = random_transformer(config, seed).bfloat16().float()
    return plain, X86Network(network, format_of(ARITHMETIC[0]))


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().float()


def written_out(plain: Transformer, network: X86Network, ids: Tensor) -> Tensor:
    """Hidden states of whole sequences by the full masks, rounded wherever the kernels store bfloat16."""
    x = network._embeddings.embed_positions(ids, 0).float()
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
            stepped = decode(network, ids[:, position], places, cache, slots + 1, slots)
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
    together = decode(network, newest, positions, cache, left_slots, slots)
    for mates in (1, 2, 7):
        for start in range(0, num_rows - mates + 1, mates):
            some = slice(start, start + mates)
            got = decode(network, newest[some], positions[some], cache, left_slots[some], slots[some])
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
    own = decode(network, newest, positions, cache, slots, slots)
    for pool in cache.body:
        pool[1:, : config.image_length] = 0
    shared = decode(network, newest, positions, cache, slots, slots, image_slots=torch.zeros_like(slots))
    assert torch.equal(own, shared)
    assert not torch.equal(decode(network, newest, positions, cache, slots, slots), shared)


def test_a_cache_of_other_numbers_is_refused():
    config = ModelConfig(1, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    _, network = both_of(config, 4)
    slot = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="bfloat16"):
        decode(network, slot, slot + 9, KeyValueCache(config, 1, 1), slot, slot)


def test_places_that_the_cache_does_not_have_are_refused():
    config = ModelConfig(1, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    _, network = both_of(config, 4)
    cache = KeyValueCache(config, 1, 2, dtype=torch.bfloat16)
    slot = torch.zeros(1, dtype=torch.int64)
    for left_slot, body_slot, picture_slot in ((1, 0, 0), (0, 2, 0), (0, 0, -1), (-1, 0, 0)):
        places = (slot + left_slot, slot + body_slot)
        with pytest.raises(IndexError, match="token 0"):
            decode(network, slot, slot + 24, cache, *places, image_slots=slot + picture_slot)
    with pytest.raises(IndexError, match="token 5"):
        network.prefill(
            torch.zeros(2, 5, dtype=torch.int64), cache, torch.tensor([0, 1]), torch.tensor([0, 1])
        )


def test_int8_network_is_near_the_plain_one_and_a_step_is_what_a_prompt_is():
    config = ModelConfig(4, 256, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    plain = random_transformer(config, 9)
    network = X86Network(random_transformer(config, 9).bfloat16(), WeightFormat.INT8)
    ids = random_ids(config, 2, 9)
    whole, expected = network.encode(ids), plain.encode(ids)
    assert (whole - expected).norm() < 0.05 * expected.norm()
    cache, slots = KeyValueCache(config, 2, 2, dtype=torch.bfloat16), torch.arange(2)
    for position in range(config.total_length):
        got = decode(network, ids[:, position], torch.full((2,), position), cache, slots, slots)
        assert torch.equal(got, whole[:, position])
