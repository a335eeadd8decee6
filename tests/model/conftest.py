"""What tests of the model share."""

import shutil

import pytest


@pytest.fixture
def folder(tiny_v2, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_v2, tmp_path / "checkpoint")
