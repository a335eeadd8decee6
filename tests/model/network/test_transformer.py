"""The network's paths against one another: whole sequences, prefill, decode steps, head slices."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from model.config import PRESETS, ModelConfig
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.transformer import Transformer
from tests.support.architectures import architectures, random_ids, random_transformer, read_transformer
from tests.support.decoding import decode

SEEDS = st.integers(0, 10_000)


def assert_close(got: Tensor, expected: Tensor) -> None:
    """Equal to 1e-4 of the largest value."""
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["tiny_v1", "tiny_v2"])
def test_logits_equal_the_recorded_ones(name: str, request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue(name)
    expected = load_file(folder / "expected.safetensors")
    assert_close(read_transformer(folder)(expected["forward.input_ids"]), expected["forward.logits"])


@pytest.mark.parametrize("preset", ["350M", "350M-v2", "1.3B", "2.7B"])
def test_parameters_are_named_and_shaped_as_in_the_official_files(preset: str, manifests: Path):
    with torch.device("meta"):
        network = Transformer(PRESETS[preset].config)
    official = json.loads((manifests / f"{preset}.json").read_text())["tensors"]
    own = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert own == {name: shape for name, (shape, _) in official.items() if not name.endswith("_mask")}


@settings(derandomize=True, max_examples=40, deadline=None)
@given(architectures(), SEEDS)
def test_cached_step_equals_full_forward_at_every_position(config: ModelConfig, seed: int):
    network = random_transformer(config, seed)
    ids = random_ids(config, 3, seed)
    expected = network.encode(ids)
    cache = KeyValueCache(config, 4, 4)
    left_slots, slots = torch.tensor([3, 0, 1]), torch.tensor([1, 3, 0])
    got = [network.prefill(ids[:, :1], cache, left_slots, slots)[:, 0]]
    for position in range(1, config.total_length):
        places = torch.full((3,), position)
        got.append(decode(network, ids[:, position], places, cache, left_slots, slots))
    assert_close(torch.stack(got, dim=1), expected)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(architectures(), SEEDS, st.data())
def test_prefill_in_pieces_equals_full_forward(config: ModelConfig, seed: int, data: st.DataObject):
    network = random_transformer(config, seed)
    ids = random_ids(config, 2, seed)
    expected = network.encode(ids)
    cuts = data.draw(st.sets(st.integers(1, config.total_length - 1), max_size=4))
    edges = [0, *sorted(cuts), config.total_length]
    cache = KeyValueCache(config, 3, 3)
    left_slots, slots = torch.tensor([2, 0]), torch.tensor([0, 1])
    got = [
        network.prefill(ids[:, start:end], cache, left_slots, slots, start=start)
        for start, end in pairwise(edges)
    ]
    assert_close(torch.cat(got, dim=1), expected)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(architectures(), SEEDS, st.data())
def test_row_in_a_mixed_batch_equals_the_row_alone(config: ModelConfig, seed: int, data: st.DataObject):
    network = random_transformer(config, seed)
    num_rows = data.draw(st.integers(2, 7))
    ids = random_ids(config, num_rows, seed)
    place = st.integers(1, config.total_length - 1)
    positions = data.draw(st.lists(place, min_size=num_rows, max_size=num_rows))
    expected = network.encode(ids)
    cache = KeyValueCache(config, num_rows, num_rows)
    slots = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))
    left_slots = slots.flip(0)
    for row, position in enumerate(positions):
        one = slice(row, row + 1)
        network.prefill(ids[one, :position], cache, left_slots[one], slots[one])
    places = torch.tensor(positions)
    newest = ids[torch.arange(num_rows), places]
    got = decode(network, newest, places, cache, left_slots, slots)
    assert_close(got, expected[torch.arange(num_rows), places])


@settings(derandomize=True, max_examples=30, deadline=None)
@given(architectures(), SEEDS, st.data())
def test_rows_of_one_prompt_share_its_left_text(config: ModelConfig, seed: int, data: st.DataObject):
    network = random_transformer(config, seed)
    ids = random_ids(config, 5, seed)
    left_of_row = [0, 0, 1, 0, 1]
    start = config.image_start
    for row, left in enumerate(left_of_row):
        ids[row, :start] = ids[left, :start]
    expected = network.encode(ids)
    cache = KeyValueCache(config, 2, 5)
    network.prefill(ids[[0, 2], :start], cache, torch.tensor([1, 0]), torch.tensor([0, 0]))
    left_slots, slots = torch.tensor([1, 1, 0, 1, 0]), torch.arange(5)
    last = data.draw(st.integers(start, config.total_length - 1))
    for position in range(start, last + 1):
        got = decode(network, ids[:, position], torch.full((5,), position), cache, left_slots, slots)
    assert_close(got, expected[:, last])


@settings(derandomize=True, max_examples=30, deadline=None)
@given(architectures(), SEEDS, st.data())
def test_scoring_on_a_shared_prefix_equals_full_forward(config: ModelConfig, seed: int, data: st.DataObject):
    network = random_transformer(config, seed)
    ids = random_ids(config, 4, seed)
    start = data.draw(st.integers(1, config.total_length - 1))
    end = data.draw(st.integers(start + 1, config.total_length))
    ids[:, :start] = ids[0, :start]
    expected = network.encode(ids)
    cache = KeyValueCache(config, 2, 2)
    network.prefill(ids[:1, :start], cache, torch.tensor([1]), torch.tensor([0]))
    before = [pool.clone() for pool in (*cache.left, *cache.body)]
    got = network.encode(
        ids[:, start:end],
        start=start,
        cache=cache,
        left_slots=torch.tensor([1]),
        slots=torch.tensor([0]),
    )
    assert_close(got, expected[:, start:end])
    after = (*cache.left, *cache.body)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True)), "encode wrote"


def test_copied_prefix_continues_as_its_source():
    config = ModelConfig(5, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = random_transformer(config, 1)
    ids = random_ids(config, 1, 1)
    cache = KeyValueCache(config, 1, 3)
    network.prefill(ids[:, :24], cache, torch.tensor([0]), torch.tensor([2]))
    cache.copy_body(2, torch.tensor([0, 1]), 24 - config.left_text_length)
    rows = torch.tensor([0, 0])
    got = decode(network, ids[0, 24].expand(2), torch.tensor([24, 24]), cache, rows, torch.tensor([0, 1]))
    assert_close(got, network.encode(ids)[:, 24].expand(2, -1))


def test_wide_extents_change_nothing():
    config = ModelConfig(5, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = random_transformer(config, 2)
    positions = torch.tensor([2, 10, 23])
    ids = random_ids(config, 3, 2)
    results: list[Tensor] = []
    for layout in (StepLayout.of(config, positions.tolist()), StepLayout(1, 1, 1, 6, 5)):
        cache = KeyValueCache(config, 3, 3)
        slots = torch.arange(3)
        network.prefill(ids, cache, slots, slots)
        newest = torch.tensor([1, 2, 3])
        results.append(network.decode(newest, positions, cache, slots, slots, layout=layout))
    assert_close(results[0], results[1])


def test_generated_pad_in_left_text_is_its_positions_own():
    config = ModelConfig(2, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = random_transformer(config, 3)
    with_zero = torch.tensor([[2, 0, 5]])
    with_pad = torch.tensor([[2, config.text_vocab_size - 6 + 1, 5]])
    assert torch.equal(network.encode(with_zero), network.encode(with_pad))
    cache = KeyValueCache(config, 1, 1)
    slot = torch.tensor([0])
    network.prefill(with_zero[:, :1], cache, slot, slot)
    zero, pad = (
        decode(network, ids[:, 1], torch.tensor([1]), cache, slot, slot) for ids in (with_zero, with_pad)
    )
    assert torch.equal(zero, pad)


def test_head_slices_equal_the_whole_head():
    config = ModelConfig(2, 32, 4, 6, 4, 5, 3, 5, 30, 20, text_special_tokens=6, image_special_tokens=3)
    network = random_transformer(config, 4)
    ids = random_ids(config, 2, 4)
    hidden, logits = network.encode(ids), network(ids)
    text = config.text_vocab_size
    assert_close(network.text_logits(hidden), logits[..., :text])
    assert_close(network.text_logits(hidden, text - 6), logits[..., : text - 6])
    assert_close(network.image_logits(hidden), logits[..., text:])
    assert_close(network.image_logits(hidden[:, 7], 20), logits[:, 7, text : text + 20])


def test_shorter_sequences_are_prefixes():
    config = ModelConfig(4, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = random_transformer(config, 5)
    ids = random_ids(config, 1, 5)
    whole = network(ids)
    for length in (1, 6, 7, 22, 23):
        assert_close(network(ids[:, :length]), whole[:, :length])


@pytest.mark.parametrize("length", [0, 28])
def test_sequences_that_do_not_fit_are_refused(length: int):
    config = ModelConfig(1, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    with pytest.raises(ValueError, match="do not fit"):
        Transformer(config).encode(torch.zeros(1, length, dtype=torch.int64))


def test_prefix_without_a_cache_is_refused():
    config = ModelConfig(1, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    with pytest.raises(ValueError, match="cache"):
        Transformer(config).encode(torch.zeros(1, 2, dtype=torch.int64), start=3)


def test_gradients_reach_every_weight_that_is_read():
    config = ModelConfig(3, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = random_transformer(config, 8).requires_grad_(True)
    hidden = network.encode(random_ids(config, 2, 8))
    loss = network.text_logits(hidden[:, :5]).logsumexp(-1).sum()
    (loss + network.image_logits(hidden[:, 5:]).logsumexp(-1).sum()).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype: torch.dtype):
    config = ModelConfig(8, 64, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = random_transformer(config, 6)
    ids = random_ids(config, 2, 6)
    expected = network(ids)
    network.to(dtype)
    cache = KeyValueCache(config, 2, 2, dtype=dtype)
    slots = torch.arange(2)
    network.prefill(ids[:, :10], cache, slots, slots)
    for position in range(10, config.total_length):
        hidden = decode(network, ids[:, position], torch.full((2,), position), cache, slots, slots)
    got = torch.cat([network.text_logits(hidden), network.image_logits(hidden)], dim=1).float()
    error = (got - expected[:, -1]).norm() / expected[:, -1].norm()
    assert error < (0.08 if dtype is torch.bfloat16 else 0.01)


def test_decode_step_reads_nothing_back_from_the_device():
    # Tensors of the meta device hold no values: any read-back or data-dependent shape raises.
    config = ModelConfig(8, 32, 4, 6, 4, 5, 3, 5, bpe_vocab_size=30, image_codebook_size=20)
    network = Transformer(config).to("meta")
    cache = KeyValueCache(config, 3, 8, "meta")
    rows = torch.zeros(8, dtype=torch.int64, device="meta")
    layout = StepLayout(2, 4, 2, 6, 5)
    hidden = network.decode(rows, rows, cache, rows, rows, layout=layout)
    assert network.image_logits(hidden[2:6]).shape == (4, 20)
