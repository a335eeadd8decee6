"""What tests of the model share."""

import shutil
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def folder(tiny_v2, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_v2, tmp_path / "checkpoint")


@pytest.fixture(params=[1, 2, 3])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads of products, which a server uses several of."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
