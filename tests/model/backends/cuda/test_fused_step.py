"""The fused decode step against `Transformer.decode`, for whole small networks."""

import copy

import pytest
import torch

from model.backends.cuda.fused_step import FusedStep, StepInputs
from model.config import ModelConfig
from model.network.cache import KeyValueCache
from model.network.transformer import Transformer
from tests.support.architectures import random_ids, random_transformer
from tests.support.decoding import decode

CONFIGS = [
    ModelConfig(6, 24, 2, 5, 4, 4, 3, 5, 20, 12),
    ModelConfig(4, 40, 2, 3, 3, 5, 3, 5, 20, 12, text_special_tokens=6, image_special_tokens=4),
    ModelConfig(1, 16, 1, 1, 2, 1, 1, 1, 20, 12),
]


def whole_cache(network: Transformer, rows: int, seed: int) -> tuple[KeyValueCache, torch.Tensor]:
    """A cache that holds whole sequences, and their ids."""
    weight = network.text_embeddings.weight
    cache = KeyValueCache(network.config, rows, rows, weight.device, weight.dtype)
    ids = random_ids(network.config, rows, seed).to(weight.device)
    every = torch.arange(rows, device=weight.device)
    network.prefill(ids, cache, every, every)
    return cache, ids


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fused_step_equals_plain_decode_for_any_mix_of_rows(
    config: ModelConfig, dtype: torch.dtype, device: torch.device
):
    network = random_transformer(config, seed=3).to(device, dtype)
    exact = random_transformer(config, seed=3).to(device)
    rows = 6
    cache, ids = whole_cache(network, rows, seed=4)
    chooser = torch.Generator().manual_seed(5)
    positions = torch.randint(config.total_length, (rows,), generator=chooser)
    positions[:3] = torch.tensor([0, config.image_start, config.total_length - 1])
    positions = positions.to(device)
    slots = torch.randperm(rows, generator=chooser).to(device)
    theirs = KeyValueCache(config, rows, rows, device, torch.float32)
    for mine, copied in zip((*cache.left, *cache.body), (*theirs.left, *theirs.body), strict=True):
        copied.copy_(mine)
    step = FusedStep(network)
    hidden, normed = step.hidden(StepInputs(ids, positions, slots, slots), cache)
    expected = decode(exact, ids[slots, positions], positions, theirs, slots, slots)
    tolerance = 1e-4 if dtype is torch.float32 else 3e-2
    torch.testing.assert_close(hidden, expected, rtol=tolerance, atol=tolerance)
    width = config.image_vocab_size - 1
    torch.testing.assert_close(
        step.image_logits(normed, width).float(),
        exact.image_logits(expected, width),
        rtol=tolerance,
        atol=tolerance,
    )
    torch.testing.assert_close(
        step.text_logits(normed, 7).float(), exact.text_logits(expected, 7), rtol=tolerance, atol=tolerance
    )
    for mine, other in zip((*cache.left, *cache.body), (*theirs.left, *theirs.body), strict=True):
        torch.testing.assert_close(mine.float(), other, rtol=tolerance, atol=tolerance)


def test_weights_changed_in_place_are_seen(device: torch.device):
    network = random_transformer(CONFIGS[2], seed=6).to(device)
    cache, ids = whole_cache(network, 1, seed=7)
    step = FusedStep(network)
    at = torch.zeros(1, dtype=torch.int64, device=device)
    rows = StepInputs(ids, at, at, at)
    before = step.hidden(rows, copy.deepcopy(cache))[0]
    with torch.no_grad():
        network.text_embeddings.weight.mul_(2)
    assert not torch.equal(before, step.hidden(rows, cache)[0])
