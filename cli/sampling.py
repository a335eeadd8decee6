"""Sampling options over the defaults of a task, and the seed when none is given."""

import secrets

from jobs.requests import Sampling


def sampling_of(
    defaults: Sampling, temperature: float | None, top_k: int | None, top_p: float | None
) -> Sampling:
    return Sampling(
        temperature=defaults.temperature if temperature is None else temperature,
        top_k=defaults.top_k if top_k is None else top_k,
        top_p=defaults.top_p if top_p is None else top_p,
    )


def seed_of(seed: int | None) -> int:
    """The seed given, or a random one short enough to type again."""
    return secrets.randbits(32) if seed is None else seed
