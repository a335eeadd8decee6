"""One real server with a worker for the tests that send it what is hostile; it must outlive them all."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.servers import Server, serving


@pytest.fixture(scope="session")
def server(tiny_v2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_v2, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def api_process(server: Server) -> psutil.Process:
    """The process that answers HTTP."""
    return psutil.Process(server.process.pid)
