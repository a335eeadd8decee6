"""The decode step against the softmax written out over the full mask."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.network.attention import DecodeStep, StepSequences
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.masks import LayerKind, full_mask, key_table
from tests.support.architectures import architectures


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
def test_step_equals_the_softmax_over_the_mask(
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
    fused = torch.randn(count, 3, config.num_heads, config.head_size, generator=generator)
    table = key_table(config, kind)
    step = DecodeStep.plan(
        cache,
        {kind: (table.cells, table.valid)},
        StepSequences(
            StepLayout.of(config, positions),
            positions=torch.tensor(positions),
            left_slots=torch.tensor(left_slots),
            slots=torch.tensor(slots),
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
