"""Fixtures: a real server of every installed program, and a new queue for each test."""

import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest

from jobs.client.client import JobClient
from jobs.contract.limits import QueueLimits
from jobs.redis import server_binary
from jobs.redis.transport import SyncTransport
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer


def binaries() -> list[Path]:
    return [server.path for server in server_binary.installed_servers()]


@pytest.fixture(scope="session", params=binaries(), ids=lambda path: path.name)
def server(request: pytest.FixtureRequest) -> Generator[RedisServer]:
    with RedisServer(binary=request.param) as running:
        yield running


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def clients(server: RedisServer, queue: str) -> AsyncGenerator[Callable[..., object]]:
    """Makes clients with the limits given; closes them after the test."""
    made: list[JobClient] = []

    async def make(url: str = server.url, **limits: float) -> JobClient:
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
    """Makes consumers; closes them after the test."""
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
def transport(server: RedisServer, queue: str) -> Generator[SyncTransport]:
    """The scripts themselves, for what client and consumer would never send twice."""
    opened = SyncTransport(server.url, queue, timeout_s=5)
    yield opened
    opened.close()
