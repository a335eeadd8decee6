"""Fixtures that every room uses: the small checkpoints in the official file layout."""

from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def tiny_v1() -> Path:
    """Folder of a small first-generation checkpoint, with what the reference computed from it."""
    return FIXTURES / "tiny-v1"


@pytest.fixture(scope="session")
def tiny_v2() -> Path:
    """Folder of a small second-generation checkpoint, with what the reference computed from it."""
    return FIXTURES / "tiny-v2"


@pytest.fixture(scope="session")
def manifests() -> Path:
    """Folder of the official files' tensor names, shapes and dtypes."""
    return FIXTURES / "manifests"
