"""Prompts and scoring on the kernels against `Transformer`: any stretch, any prefix, shared or not."""

import pytest
import torch
from torch import Tensor

from model.backends.cuda.network import CudaNetwork
from model.config import ModelConfig
from model.network.cache import KeyValueCache
from model.network.transformer import Transformer
from tests.support.architectures import random_ids, random_transformer

# All kinds of layers; attention alone is tested with more shapes.
CONFIG = ModelConfig(5, 16, 2, 3, 3, 4, 3, 5, 20, 12, text_special_tokens=6, image_special_tokens=4)
ROWS = 2


def tolerance_of(dtype: torch.dtype) -> float:
    return 1e-4 if dtype is torch.float32 else 3e-2


def networks(
    config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> tuple[CudaNetwork, Transformer]:
    """The network on the kernels, and the same one in float32."""
    ours = CudaNetwork(random_transformer(config, seed=3).to(device, dtype))
    return ours, random_transformer(config, seed=3).to(device)


def filled(network: Transformer, ids: Tensor) -> KeyValueCache:
    """A cache with whole sequences, in slots that are not those of their indices."""
    cache = KeyValueCache(network.config, ROWS + 1, ROWS + 2, ids.device)
    network.prefill(
        ids, cache, torch.arange(ROWS, device=ids.device), torch.arange(ROWS, device=ids.device) + 2
    )
    return cache


def copied(cache: KeyValueCache, dtype: torch.dtype) -> KeyValueCache:
    device = cache.body[0].device
    copy = KeyValueCache(cache.config, cache.num_left_slots, cache.num_slots, device, dtype)
    for mine, theirs in zip((*copy.left, *copy.body), (*cache.left, *cache.body), strict=True):
        mine.copy_(theirs)
    return copy


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_prompts_equal_the_reference_and_are_stored(dtype: torch.dtype, device: torch.device):
    config = CONFIG
    ours, exact = networks(config, dtype, device)
    ids = random_ids(config, ROWS, seed=4).to(device)
    left_slots, slots = torch.arange(ROWS, device=device), torch.arange(ROWS, device=device) + 2
    tolerance = tolerance_of(dtype)
    for start, end in ((0, config.image_start), (config.image_start, config.right_start + 2)):
        theirs = filled(exact, ids)
        mine = copied(theirs, dtype)
        other = (ids + 1) % 12
        expected = exact.prefill(other[:, start:end], theirs, left_slots, slots, start=start)
        hidden = ours.prefill(other[:, start:end], mine, left_slots, slots, start=start)
        for got, logits in (
            (ours.text_logits(hidden, 9), exact.text_logits(expected, 9)),
            (ours.image_logits(hidden), exact.image_logits(expected)),
        ):
            torch.testing.assert_close(got.float(), logits, rtol=tolerance, atol=tolerance)
        for pool, reference in zip((*mine.left, *mine.body), (*theirs.left, *theirs.body), strict=True):
            torch.testing.assert_close(pool.float(), reference, rtol=tolerance, atol=tolerance)


def test_sequences_on_one_prefix_equal_the_reference_and_write_nothing(device: torch.device):
    config = CONFIG
    ours, exact = networks(config, torch.float32, device)
    ids = random_ids(config, ROWS, seed=4).to(device)
    left_slot, slot = torch.tensor([1], device=device), torch.tensor([3], device=device)
    theirs = filled(exact, ids)
    mine = copied(theirs, torch.float32)
    some = random_ids(config, 6, seed=5).to(device)[:, config.right_start :]
    expected = exact.encode(some, start=config.right_start, cache=theirs, left_slots=left_slot, slots=slot)
    hidden = ours.encode(some, start=config.right_start, cache=mine, left_slots=left_slot, slots=slot)
    got = ours.text_logits(hidden, 9)
    torch.testing.assert_close(got, exact.text_logits(expected, 9), rtol=1e-4, atol=1e-4)
    for pool, reference in zip((*mine.left, *mine.body), (*theirs.left, *theirs.body), strict=True):
        assert torch.equal(pool, reference)


def test_whole_sequences_need_no_cache(device: torch.device):
    ours, exact = networks(CONFIG, torch.float32, device)
    ids = random_ids(CONFIG, ROWS, seed=6).to(device)
    got, expected = ours.image_logits(ours.encode(ids)), exact.image_logits(exact.encode(ids))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_positions_before_a_stretch_need_a_cache(device: torch.device):
    ours, _ = networks(CONFIG, torch.float32, device)
    ids = torch.ones(1, 2, dtype=torch.int64, device=device)
    with pytest.raises(ValueError, match="from a cache"):
        ours.encode(ids, start=3)
    with pytest.raises(ValueError, match="do not fit"):
        ours.encode(ids.repeat(1, CONFIG.total_length))
