"""Probabilities of candidates: higher is better, and they add up to 1.

softmax(−log ppl ÷ temperature) for classes: at temperature 1, half the perplexity is twice the probability.
softmax(−score ÷ temperature) for rankings, so that both have one order. They compare the candidates of one
request. A checkpoint can bring temperatures that were calibrated on labelled images (generation_config.json).
"""

import math
from collections.abc import Iterable, Sequence


def probabilities(surprises: Sequence[float], temperature: float) -> list[float]:
    """Return softmax(−surprise ÷ temperature); equal shares where no surprise is a number."""
    known = [value if math.isfinite(value) else math.inf for value in surprises]
    least = min(known, default=0.0)
    if math.isinf(least):
        return [1.0 / len(known)] * len(known)
    weights = [math.exp((least - value) / temperature) for value in known]
    total = sum(weights)
    return [weight / total for weight in weights]


def class_probabilities(perplexities: Iterable[float], temperature: float) -> list[float]:
    """Return the probabilities of classes by the perplexities of their texts."""
    return probabilities([_surprise(perplexity) for perplexity in perplexities], temperature)


def _surprise(perplexity: float) -> float:
    """Return the logarithm of a perplexity; nan for one that is no positive number."""
    return math.log(perplexity) if perplexity > 0 else math.nan
