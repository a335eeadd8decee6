"""The sparse attention kernel against plain PyTorch: any mix of rows, any shape, any batch mates."""

import random

import pytest
import torch
from torch import Tensor

from model.backends.cuda.triton_attention import AttentionTuning, attend
from model.config import ModelConfig
from model.network.attention import DecodeStep, StepSequences
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.masks import LayerKind, key_table

# (heads, head size, left, width, right, kernel, last kernel): odd sizes, and sizes of one.
SHAPES = [
    (2, 8, 5, 4, 3, 3, 5),
    (1, 20, 9, 3, 7, 1, 3),
    (3, 4, 1, 5, 1, 5, 7),
    (2, 16, 17, 6, 20, 7, 9),
]


def config_of(shape: tuple[int, ...]) -> ModelConfig:
    heads, head_size, left, width, right, kernel, last = shape
    return ModelConfig(4, heads * head_size, heads, left, width, right, kernel, last)


def filled_cache(
    config: ModelConfig, slots: int, device: torch.device, dtype: torch.dtype, seed: int
) -> KeyValueCache:
    cache = KeyValueCache(config, slots, slots, device, dtype)
    generator = torch.Generator().manual_seed(seed)
    for pool in (*cache.left, *cache.body):
        pool.copy_(torch.randn(pool.shape, generator=generator))
    return cache


def plain(
    config: ModelConfig,
    fused: Tensor,
    positions: list[int],
    left_slots: Tensor,
    slots: Tensor,
    cache: KeyValueCache,
    kind: LayerKind,
) -> Tensor:
    """Attention of rows in any order, in float32 for every dtype of the cache."""
    order = sorted(range(len(positions)), key=lambda row: positions[row])
    table = key_table(config, kind)
    tables = {kind: (table.cells.to(fused.device), table.valid.to(fused.device))}
    ordered = torch.tensor([positions[row] for row in order], device=fused.device)
    layout = StepLayout.of(config, ordered.tolist())
    rows = StepSequences(layout, ordered, left_slots[order], slots[order])
    step = DecodeStep.plan(cache, tables, rows)
    split = fused[order].view(len(order), 3, config.num_heads, config.head_size)
    context = step.attend(split, cache, 0, kind)
    return torch.empty_like(context).index_copy_(0, torch.tensor(order, device=fused.device), context)


def case(config: ModelConfig, rows: int, seed: int, device: torch.device, dtype: torch.dtype):
    """Rows of every segment; left slots are shared among rows that only read them."""
    chooser = random.Random(seed)
    positions = [chooser.randrange(config.total_length) for _ in range(rows)]
    edges = [0, config.image_start, config.right_start - 1, config.right_start, config.total_length - 1]
    positions[: len(edges)] = edges[:rows]
    shared = rows
    left_slots = [
        row if place < config.image_start else chooser.choice([shared, shared + 1])
        for row, place in enumerate(positions)
    ]
    generator = torch.Generator().manual_seed(seed)
    fused = torch.randn(rows, 3 * config.hidden_size, generator=generator).to(device, dtype)
    return (
        fused,
        positions,
        torch.tensor(left_slots, device=device),
        torch.tensor(chooser.sample(range(rows + 2), rows), device=device),
    )


@pytest.mark.parametrize("kind", list(LayerKind))
@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_equals_plain_attention_for_any_mix_of_rows(
    kind: LayerKind, shape: tuple[int, ...], device: torch.device
):
    config = config_of(shape)
    # Each kind and each shape meets both.
    nth = list(LayerKind).index(kind) + SHAPES.index(shape)
    dtype = torch.float16 if nth % 2 else torch.float32
    rows = 7
    fused, positions, left_slots, slots = case(config, rows, hash(shape) % 1000, device, dtype)
    ours = filled_cache(config, rows + 2, device, dtype, seed=1)
    theirs = filled_cache(config, rows + 2, device, torch.float32, seed=1)
    for pool in (*theirs.left, *theirs.body):
        pool.copy_(pool.to(dtype))
    cells = key_table(config, kind).cells.to(device, torch.int32)
    got = attend(
        fused,
        ours.left[0],
        ours.body[0],
        torch.tensor(positions, device=device),
        left_slots,
        slots,
        cells,
        config,
        AttentionTuning(block_keys=16),
    )
    expected = plain(config, fused.float(), positions, left_slots, slots, theirs, kind)
    tolerance = 2e-6 if dtype is torch.float32 else 2e-3
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=tolerance)
    for mine, reference in ((ours.left[0], theirs.left[0]), (ours.body[0], theirs.body[0])):
        assert torch.equal(mine.float(), reference), "a key or value was written to a wrong place"


@pytest.mark.parametrize("num_rows", [1, 2, 5])
def test_a_row_gets_the_same_bits_alone_and_among_others(num_rows: int, device: torch.device):
    config = config_of(SHAPES[0])
    rows = 9
    fused, positions, left_slots, slots = case(config, rows, 5, device, torch.float32)
    cells = key_table(config, LayerKind.CONV).cells.to(device, torch.int32)
    places = torch.tensor(positions, device=device)

    def run(which: slice) -> Tensor:
        cache = filled_cache(config, rows + 2, device, torch.float32, seed=2)
        return attend(
            fused[which].contiguous(),
            cache.left[0],
            cache.body[0],
            places[which].contiguous(),
            left_slots[which].contiguous(),
            slots[which].contiguous(),
            cells,
            config,
            AttentionTuning(),
        )

    assert torch.equal(run(slice(0, num_rows)), run(slice(None))[:num_rows])


@pytest.mark.parametrize("block_keys", [16, 32, 128])
def test_block_size_changes_only_rounding(block_keys: int, device: torch.device):
    config = config_of(SHAPES[3])
    rows = 6
    fused, positions, left_slots, slots = case(config, rows, 11, device, torch.float32)
    cells = key_table(config, LayerKind.LAST_CONV).cells.to(device, torch.int32)
    places = torch.tensor(positions, device=device)

    def run(tuning: AttentionTuning) -> Tensor:
        cache = filled_cache(config, rows + 2, device, torch.float32, seed=3)
        return attend(fused, cache.left[0], cache.body[0], places, left_slots, slots, cells, config, tuning)

    torch.testing.assert_close(
        run(AttentionTuning(block_keys=block_keys)), run(AttentionTuning()), rtol=1e-6, atol=1e-6
    )


def test_huge_scores_do_not_overflow(device: torch.device):
    config = config_of(SHAPES[0])
    rows = 6
    fused, positions, left_slots, slots = case(config, rows, 7, device, torch.float32)
    fused = fused * 200
    cells = key_table(config, LayerKind.ROW).cells.to(device, torch.int32)
    ours = filled_cache(config, rows + 2, device, torch.float32, seed=4)
    theirs = filled_cache(config, rows + 2, device, torch.float32, seed=4)
    got = attend(
        fused,
        ours.left[0],
        ours.body[0],
        torch.tensor(positions, device=device),
        left_slots,
        slots,
        cells,
        config,
        AttentionTuning(),
    )
    expected = plain(config, fused, positions, left_slots, slots, theirs, LayerKind.ROW)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
