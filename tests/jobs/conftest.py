"""Real servers of every kind found here, and a queue of its own name for each test."""

import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest

from jobs import server_binary
from jobs.client import JobClient
from jobs.consumer import JobConsumer
from jobs.limits import QueueLimits
from jobs.link import SyncLink
from tests.jobs.servers import RedisServer


def _binaries() -> list[Path]:
    found = [server_binary.find_server(), server_binary.packaged_server()]
    return sorted({path for path in found if path is not None})


@pytest.fixture(scope="session", params=_binaries(), ids=lambda path: path.name)
def server(request: pytest.FixtureRequest) -> Generator[RedisServer]:
    with RedisServer(binary=request.param) as running:
        yield running


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def clients(server: RedisServer, queue: str) -> AsyncGenerator[Callable[..., object]]:
    """Makes clients with the limits given; closes them behind the test."""
    made: list[JobClient] = []

    async def make(url: str = server.url, **limits: int) -> JobClient:
        made.append(await JobClient.connect(url, queue=queue, limits=QueueLimits(**limits)))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
async def client(server: RedisServer, queue: str) -> AsyncGenerator[JobClient]:
    connected = await JobClient.connect(server.url, queue=queue)
    yield connected
    await connected.close()


@pytest.fixture
def consumers(server: RedisServer, queue: str) -> Generator[Callable[..., JobConsumer]]:
    """Makes consumers; closes them behind the test."""
    made: list[JobConsumer] = []

    def make(worker_id: str | None = None, lease_s: float = 15.0, url: str = server.url) -> JobConsumer:
        worker_id = worker_id or f"worker-{uuid.uuid4().hex}"
        made.append(JobConsumer(url, queue=queue, worker_id=worker_id, lease_s=lease_s))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


@pytest.fixture
def consumer(consumers: Callable[..., JobConsumer]) -> JobConsumer:
    return consumers()


@pytest.fixture
def link(server: RedisServer, queue: str) -> Generator[SyncLink]:
    """The scripts themselves, for what client and consumer would never send twice."""
    opened = SyncLink(server.url, queue, timeout_s=5)
    yield opened
    opened.close()
