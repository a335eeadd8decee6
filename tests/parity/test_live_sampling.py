"""Filtered and mixed probabilities against the filter that the published packages call."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.network.sampler import Guidance, SamplingBatch, filter_scores, sampled_probabilities
from tests.support.reference import top_k_top_p_filtering


@st.composite
def logits(draw: st.DrawFn) -> Tensor:
    """shape = (rows, vocab); half of them coarse, so that many logits are equal."""
    rows, vocab = draw(st.integers(1, 4)), draw(st.integers(2, 60))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = torch.randn(rows, vocab, generator=generator) * draw(st.sampled_from([0.3, 2.0, 8.0]))
    return scores.round() if draw(st.booleans()) else scores


TEMPERATURES = st.sampled_from([0.3, 0.7, 0.9, 1.0, 1.7])
TOP_P = st.one_of(st.floats(0.01, 0.999), st.just(1.0))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(logits(), st.data())
def test_filter_equals_the_reference_row_by_row(scores: Tensor, data: st.DataObject) -> None:
    rows, vocab = scores.shape
    of_rows = {"min_size": rows, "max_size": rows}
    temperature = data.draw(st.lists(TEMPERATURES, **of_rows))
    top_k = data.draw(st.lists(st.integers(0, vocab + 3), **of_rows))
    top_p = data.draw(st.lists(TOP_P, **of_rows))
    numbers = list(range(rows))
    batch = SamplingBatch.of(
        temperature=temperature, top_k=top_k, top_p=top_p, seeds=numbers, positions=numbers
    )
    got = filter_scores(scores, batch).softmax(dim=1)
    for row in range(rows):
        filtered = top_k_top_p_filtering(scores[row : row + 1] / temperature[row], top_k[row], top_p[row])
        torch.testing.assert_close(got[row : row + 1], filtered.softmax(-1), rtol=1e-5, atol=1e-7)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(logits(), st.floats(0, 1), st.integers(2, 20), st.floats(0.2, 1.0))
def test_guidance_mixes_the_filtered_probabilities(
    scores: Tensor, weight: float, top_k: int, top_p: float
) -> None:
    pair = torch.cat([scores[:1], scores[:1].flip(1)])
    rows = SamplingBatch.of(
        temperature=[0.8, 0.8],
        top_k=[top_k] * 2,
        top_p=[top_p] * 2,
        seeds=[1, 1],
        positions=[9, 9],
        guidance=Guidance(
            uncond_index=torch.tensor([1, 1]),
            weight=torch.tensor([weight, 0.0]),
            cond_index=torch.tensor([0, 0]),
        ),
    )
    prompted, unprompted = top_k_top_p_filtering(pair / 0.8, top_k, top_p).softmax(-1)
    expected = (1 - weight) * prompted + weight * unprompted
    got = sampled_probabilities(pair, rows)[0]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
