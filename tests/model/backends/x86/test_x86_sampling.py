"""Draws of the kernel against those of the plain sampler."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backends.x86 import is_available
from model.backends.x86.sampling import draw
from model.network.sampler import SamplingBatch, noise, sample
from tests.model.backends.x86.arithmetics import instructions, using

pytestmark = pytest.mark.skipif(not is_available(), reason="this processor has no AVX2")

NUM_ROWS = 7


@pytest.fixture(params=instructions(), scope="module", autouse=True)
def each_instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    """The instructions in use."""
    with using(request.param):
        yield request.param


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, SamplingBatch]:
    """Logits with and without ties, some of them forbidden, and settings at and beyond their edges."""
    vocab = draw(st.sampled_from([1, 2, 15, 16, 17, 100, 1000, 8192]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    logits = torch.randn(NUM_ROWS, vocab, generator=generator) * draw(st.sampled_from([0.1, 1.0, 4.0, 30.0]))
    kind = draw(st.sampled_from(["float32", "bfloat16", "whole", "equal"]))
    if kind == "bfloat16":
        logits = logits.bfloat16()
    elif kind == "whole":
        logits = logits.round()
    elif kind == "equal":
        logits = torch.full_like(logits, -2.5)
    if draw(st.booleans()):
        forbidden = torch.rand(NUM_ROWS, vocab, generator=generator) < 0.5
        forbidden[:, 0] = False
        logits = logits.masked_fill(forbidden, float("-inf"))

    def each(values: st.SearchStrategy[float] | st.SearchStrategy[int]) -> list[float] | list[int]:
        return draw(st.lists(values, min_size=NUM_ROWS, max_size=NUM_ROWS))

    rows = SamplingBatch.of(
        temperature=each(st.sampled_from([0.05, 0.7, 1.0, 2.0])),
        top_k=each(st.one_of(st.sampled_from([0, 1, 2, vocab, vocab + 9]), st.integers(0, vocab))),
        # No share that equal tokens reach exactly: sums in another order may fall on its other side.
        top_p=each(st.sampled_from([1.0, 0.9953, 0.8971, 0.4987, 0.0103, 1.5])),
        # Nor a share of the largest probability that a token reaches exactly.
        min_p=each(st.sampled_from([0.0, 0.0, 1e-6, 0.0507, 0.3011, 0.9, 1.0])),
        seeds=each(st.integers(0, 2**63 - 1)),
        positions=each(st.integers(0, 500)),
    )
    return logits, rows


@settings(derandomize=True, max_examples=400, deadline=None)
@given(cases())
def test_draws_are_the_plain_ones(case: tuple[torch.Tensor, SamplingBatch]):
    logits, rows = case
    before = logits.clone()
    assert torch.equal(draw(logits, rows), sample(logits, rows))
    assert torch.equal(logits, before), "the logits are the caller's"


def test_noise_is_the_plain_one():
    # Without filters a draw among equal logits is the id of the largest noise: hashes and logarithms agree.
    seeds, positions = torch.arange(2000) * 2**40 + 5, torch.arange(2000) % 300
    rows = SamplingBatch.of(
        temperature=[1.0] * 2000,
        top_k=[0] * 2000,
        top_p=[1.0] * 2000,
        seeds=seeds.tolist(),
        positions=positions.tolist(),
    )
    expected = noise(seeds, positions, 997).argmax(dim=1)
    assert torch.equal(draw(torch.zeros(2000, 997), rows), expected)
    assert len(set(expected.tolist())) > 800


@pytest.mark.usefixtures("num_threads")
def test_mates_and_threads_change_no_draw():
    logits = torch.randn(40, 300, generator=torch.Generator().manual_seed(3))
    settings = {"temperature": [0.9] * 40, "top_k": [64] * 40, "top_p": [0.9] * 40}
    numbers = list(range(40))
    together = draw(logits, SamplingBatch.of(**settings, seeds=numbers, positions=numbers))
    for row in numbers:
        alone = SamplingBatch.of(temperature=[0.9], top_k=[64], top_p=[0.9], seeds=[row], positions=[row])
        assert draw(logits[row : row + 1], alone) == together[row]
