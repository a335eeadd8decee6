"""The network against both published packages, for random architectures and weights."""

import types

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.network.cache import KeyValueCache
from model.network.masks import full_mask, layer_kinds
from model.network.transformer import Transformer
from tests.support import reference
from tests.support.architectures import architectures, random_ids
from tests.support.decoding import decode

SEEDS = st.integers(0, 10_000)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ModelConfig, types.ModuleType]:
    """An architecture and a package that can build it."""
    if draw(st.booleans()):
        return draw(architectures(first_generation=True)), reference.rudolph_v1()
    return draw(architectures()), reference.rudolph_v2()


def same_network(theirs: torch.nn.Module, config: ModelConfig) -> Transformer:
    ours = Transformer(config)
    ours.load_state_dict(reference.weights(theirs), strict=True)
    return ours.requires_grad_(False)


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-4 of the largest value."""
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(cases(), SEEDS, st.integers(1, 3))
def test_logits_equal_the_reference(case: tuple[ModelConfig, types.ModuleType], seed: int, rows: int) -> None:
    config, package = case
    theirs = reference.transformer(config, package=package, seed=seed)
    ids = random_ids(config, rows, seed)
    expected = reference.logits(theirs, ids)
    assert float(expected.std()) > 0.3, "weights of this size must tell positions and tokens apart"
    assert_close(same_network(theirs, config)(ids), expected)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(cases())
def test_layer_masks_equal_the_reference(case: tuple[ModelConfig, types.ModuleType]) -> None:
    config, package = case
    stack = reference.transformer(config, package=package, seed=0).transformer
    size = config.total_length
    for layer, kind in enumerate(layer_kinds(config)):
        theirs = stack._get_layer_mask(layer)[:size, :size].bool()
        assert torch.equal(full_mask(config, kind), theirs), (layer, kind)


@settings(derandomize=True, max_examples=15, deadline=None)
@given(cases(), SEEDS)
def test_cached_steps_equal_the_cached_reference(
    case: tuple[ModelConfig, types.ModuleType], seed: int
) -> None:
    config, package = case
    theirs = reference.transformer(config, package=package, seed=seed)
    ours = same_network(theirs, config)
    ids = random_ids(config, 2, seed)
    start = config.image_start
    mask = reference.causal_mask(theirs, 2)
    cache = KeyValueCache(config, 2, 2)
    slots = torch.arange(2)
    hidden = ours.prefill(ids[:, :start], cache, slots, slots)[:, -1]
    # The two packages carry their caches in different ways: one in its modules, the other as a value.
    past = {"has_cache": False} if package is reference.rudolph_v1() else {"cache": None}
    carried = next(iter(past))
    for length in range(start, config.total_length):
        with torch.no_grad(), reference.quiet():
            logits, past[carried] = theirs(ids[:, :length], mask, use_cache=True, **past)
        got = torch.cat([ours.text_logits(hidden), ours.image_logits(hidden)], dim=1)
        assert_close(got, logits[:, -1])
        hidden = decode(ours, ids[:, length], torch.full((2,), length), cache, slots, slots)
