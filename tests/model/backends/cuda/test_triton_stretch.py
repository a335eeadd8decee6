"""Attention of stretches against plain PyTorch: any stretch, any prefix, shared by sequences or not."""

import pytest
import torch
from torch import Tensor

from model.backends.cuda.triton_stretch import attend_stretch
from model.config import ModelConfig
from model.network.attention import CacheSlots, attend_positions
from model.network.cache import KeyValueCache
from model.network.masks import LayerKind, full_mask

# (heads, head size, left, width, right): odd sizes, and one longer than a block of queries.
SHAPES = [(2, 8, 5, 4, 3), (1, 20, 9, 3, 7), (1, 16, 40, 6, 30)]
ROWS = 3


def config_of(shape: tuple[int, ...]) -> ModelConfig:
    heads, head_size, left, width, right = shape
    return ModelConfig(1, heads * head_size, heads, left, width, right, 3, 5)


def stretches(config: ModelConfig) -> list[tuple[int, int]]:
    """Start and end: of whole segments, of parts, and over the bounds of segments."""
    image, right, total = config.image_start, config.right_start, config.total_length
    return [
        (0, image),
        (0, total),
        (image, right),
        (image, total),
        (right, total),
        (right - 2, total - 1),
        (1, 2),
    ]


def filled(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> KeyValueCache:
    cache = KeyValueCache(config, ROWS + 1, ROWS + 2, device, dtype)
    generator = torch.Generator().manual_seed(1)
    for pool in (*cache.left, *cache.body):
        pool.copy_(torch.randn(pool.shape, generator=generator))
    return cache


def expected_of(
    fused: Tensor, config: ModelConfig, kind: LayerKind, past: CacheSlots, start: int, *, write: bool
) -> Tensor:
    count, length = fused.shape[:2]
    mask = full_mask(config, kind).to(fused.device)[start : start + length, : start + length]
    split = fused.float().view(count, length, 3, config.num_heads, config.head_size)
    return attend_positions(split, mask, past, 0, start, write=write).view(count * length, -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_equals_pytorchs_and_stores_the_new_keys(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
):
    config = config_of(shape)
    left_slots = torch.tensor([2, 0, 3], device=device)
    slots = torch.tensor([4, 1, 0], device=device)
    generator = torch.Generator().manual_seed(2)
    for number, (start, end) in enumerate(stretches(config)):
        kind = list(LayerKind)[number % 4]
        fused = torch.randn(ROWS, end - start, 3 * config.hidden_size, generator=generator).to(device, dtype)
        ours, theirs = filled(config, device, dtype), filled(config, device, torch.float32)
        for pool in (*theirs.left, *theirs.body):
            pool.copy_(pool.to(dtype))
        expected = expected_of(fused, config, kind, CacheSlots(theirs, left_slots, slots), start, write=True)
        got = attend_stretch(
            fused.flatten(0, 1),
            (ours.left[0], ours.body[0]),
            left_slots,
            slots,
            full_mask(config, kind).to(device),
            start,
            end - start,
            config,
            write=True,
        )
        tolerance = 2e-6 if dtype is torch.float32 else 3e-3
        torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=tolerance)
        assert torch.equal(ours.left[0].float(), theirs.left[0])
        assert torch.equal(ours.body[0].float(), theirs.body[0])


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("shape", SHAPES)
def test_sequences_on_one_prefix_read_it_where_it_is(
    shape: tuple[int, ...], count: int, device: torch.device
):
    """Blocks of queries begin and end inside sequences, and a sequence reads no key of another."""
    config = config_of(shape)
    cache, kept = filled(config, device, torch.float32), filled(config, device, torch.float32)
    left_slot, slot = torch.tensor([1], device=device), torch.tensor([3], device=device)
    generator = torch.Generator().manual_seed(3)
    for number, (start, end) in enumerate(stretches(config)[2:]):
        kind = list(LayerKind)[number % 4]
        fused = torch.randn(count, end - start, 3 * config.hidden_size, generator=generator).to(device)
        past = CacheSlots(kept, left_slot.expand(count), slot.expand(count))
        expected = expected_of(fused, config, kind, past, start, write=False)
        got = attend_stretch(
            fused.flatten(0, 1),
            (cache.left[0], cache.body[0]),
            left_slot,
            slot,
            full_mask(config, kind).to(device),
            start,
            end - start,
            config,
            write=False,
        )
        torch.testing.assert_close(got, expected, rtol=2e-6, atol=2e-6)
    assert torch.equal(cache.left[0], kept.left[0])
    assert torch.equal(cache.body[0], kept.body[0])


def test_a_sequence_has_the_same_bits_alone_and_among_others(device: torch.device):
    config = config_of(SHAPES[0])
    start, length = config.image_start, config.image_length
    fused = torch.randn(ROWS, length, 3 * config.hidden_size, generator=torch.Generator().manual_seed(4)).to(
        device
    )
    left_slots, slots = torch.tensor([2, 0, 3], device=device), torch.tensor([4, 1, 0], device=device)
    mask = full_mask(config, LayerKind.ROW).to(device)

    def run(which: slice) -> Tensor:
        cache = filled(config, device, torch.float32)
        return attend_stretch(
            fused[which].flatten(0, 1).contiguous(),
            (cache.left[0], cache.body[0]),
            left_slots[which].contiguous(),
            slots[which].contiguous(),
            mask,
            start,
            length,
            config,
            write=True,
        )

    assert torch.equal(run(slice(1, 2)), run(slice(None))[length : 2 * length])
