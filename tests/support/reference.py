"""The published packages for tests: a test without them is skipped, or fails where CI=true requires them."""

import os
import types
from collections.abc import Callable

import pytest

from bench import published
from bench.published import (
    causal_mask,
    logits,
    quiet,
    randomise,
    top_k_top_p_filtering,
    transformer,
    weights,
)

__all__ = [
    "causal_mask",
    "logits",
    "quiet",
    "randomise",
    "rudalle",
    "rudolph_v1",
    "rudolph_v2",
    "top_k_top_p_filtering",
    "transformer",
    "weights",
]


def rudolph_v1() -> types.ModuleType:
    """Return the package of the first generation (0.0.1rc8)."""
    return _required(published.rudolph_v1)


def rudolph_v2() -> types.ModuleType:
    """Return the package of the second generation (0.0.1rc10)."""
    return _required(published.rudolph_v2)


def rudalle() -> types.ModuleType:
    """Return the package with the tokenizers (1.1.3)."""
    return _required(published.rudalle)


def _required(load: Callable[[], types.ModuleType]) -> types.ModuleType:
    try:
        return load()
    except published.PackagesMissingError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
