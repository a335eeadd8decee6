"""Both plain ways to read the cache at a decode step, against the softmax written out over the full mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.kernels.attention import DecodeStep
from model.kernels.cpu_attention import CpuStep, runs_of
from model.kernels.grouped_rows import GroupedRows
from model.kv_cache import KeyValueCache
from model.layout import RowGroups
from model.masks import LayerKind, full_mask, key_table
from tests.model.architectures import architectures


def written_out(
    fused: Tensor, cache: KeyValueCache, rows: list[tuple[int, int, int]], mask: Tensor
) -> Tensor:
    """rows: (position, left slot, slot). The new keys and values are in the cache. Returns (rows, hidden)."""
    contexts: list[Tensor] = []
    for query, (position, left_slot, slot) in zip(fused[:, 0], rows, strict=True):
        both = torch.cat([cache.left[0][left_slot], cache.body[0][slot]])[mask[position]]
        scores = torch.einsum("hd,khd->hk", query, both[:, 0]) / query.shape[-1] ** 0.5
        contexts.append(torch.einsum("hk,khd->hd", scores.softmax(-1), both[:, 1]).flatten())
    return torch.stack(contexts)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(architectures(), st.sampled_from(LayerKind), st.integers(0, 10_000), st.data())
@pytest.mark.parametrize("step_type", [CpuStep, DecodeStep])
def test_step_equals_the_softmax_over_the_mask(
    step_type: type[CpuStep] | type[DecodeStep],
    config: ModelConfig,
    kind: LayerKind,
    seed: int,
    data: st.DataObject,
):
    place = st.integers(0, config.total_length - 1)
    positions = sorted(data.draw(st.lists(place, min_size=1, max_size=8)))
    count = len(positions)
    left_writers = sum(position < config.image_start for position in positions)
    shared = st.integers(count, count + 2)
    left_slots = [row if row < left_writers else data.draw(shared) for row in range(count)]
    slots = data.draw(st.permutations(range(count)))
    generator = torch.Generator().manual_seed(seed)
    cache = KeyValueCache(config, count + 3, count)
    for pool in (cache.left[0], cache.body[0]):
        pool.copy_(torch.randn(pool.shape, generator=generator))
    picture_slots = list(slots)
    if data.draw(st.booleans()):
        texts = [row for row, position in enumerate(positions) if position >= config.right_start]
        for row in texts:
            picture_slots[row] = slots[texts[0]]
            cache.body[0][slots[row], : config.image_length] = cache.body[0][
                picture_slots[row], : config.image_length
            ]
    fused = torch.randn(count, 3, config.num_heads, config.head_size, generator=generator)
    table = key_table(config, kind)
    step = step_type.plan(
        cache,
        {kind: (table.cells, table.valid)},
        GroupedRows(
            RowGroups.of(config, positions),
            positions=torch.tensor(positions),
            left_slots=torch.tensor(left_slots),
            slots=torch.tensor(slots),
            picture_slots=torch.tensor(picture_slots),
        ),
    )
    got = step.attend(fused, cache, 0, kind)
    rows = list(zip(positions, left_slots, slots, strict=True))
    torch.testing.assert_close(
        got, written_out(fused, cache, rows, full_mask(config, kind)), rtol=1e-4, atol=1e-5
    )
    for (position, left_slot, slot), new in zip(rows, fused[:, 1:], strict=True):
        start = config.image_start
        stored = (
            cache.left[0][left_slot, position] if position < start else cache.body[0][slot, position - start]
        )
        assert torch.equal(stored, new), "a row's own keys and values are in the cache afterwards"


def test_runs_are_the_longest_ones():
    runs = [(run.slot, run.start, run.end) for run in runs_of([4, 4, 2, 4, 7, 7, 7])]
    assert runs == [(4, 0, 2), (2, 2, 3), (4, 3, 4), (7, 4, 7)]
    assert runs_of([]) == []
