"""One server for each small checkpoint, shared by all end-to-end tests that do it no harm."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import Server, serving


@pytest.fixture(scope="session")
def server_v1(tiny_v1: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_v1, tmp_path_factory.mktemp("server-v1")) as server:
        yield server


@pytest.fixture(scope="session")
def server_v2(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_v2, tmp_path_factory.mktemp("server-v2")) as server:
        yield server
