"""One server for each small checkpoint, shared by all end-to-end tests that do it no harm."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.answering import answering
from tests.support.servers import ROOT, Server, serving


@pytest.fixture(scope="session")
def server_v1(tiny_v1: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_v1, tmp_path_factory.mktemp("server-v1")) as server:
        yield server


@pytest.fixture(scope="session")
def server_v2(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_v2, tmp_path_factory.mktemp("server-v2")) as server:
        yield server


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the demo checkpoint."""
    with serving(ROOT / "checkpoints" / "demo", tmp_path_factory.mktemp("server-demo")) as server:
        yield server


@pytest.fixture(scope="session")
def server_answers(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a checkpoint that accepts questions."""
    folder = tmp_path_factory.mktemp("server-answers")
    with serving(answering(tiny_v2, folder / "checkpoint"), folder / "data") as server:
        yield server
