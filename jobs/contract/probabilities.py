"""Probabilities of candidates: higher is better, and they add up to 1.

softmax(−log ppl) for classes: half the perplexity is twice the probability. softmax(−score) for rankings, so
that both have one order. They compare the candidates of one request; they are not calibrated on labelled
images.
"""

import math
from collections.abc import Iterable, Sequence


def probabilities(surprises: Sequence[float]) -> list[float]:
    """Return softmax(−surprise); equal shares where no surprise is a number."""
    known = [value if math.isfinite(value) else math.inf for value in surprises]
    least = min(known, default=0.0)
    if math.isinf(least):
        return [1.0 / len(known)] * len(known)
    weights = [math.exp(least - value) for value in known]
    total = sum(weights)
    return [weight / total for weight in weights]


def class_probabilities(perplexities: Iterable[float]) -> list[float]:
    """Return the probabilities of classes by the perplexities of their texts."""
    return probabilities([_surprise(perplexity) for perplexity in perplexities])


def _surprise(perplexity: float) -> float:
    """Return the logarithm of a perplexity; nan for one that is no positive number."""
    return math.log(perplexity) if perplexity > 0 else math.nan
