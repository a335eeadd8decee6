"""One real server for the tests of this folder, and a queue of its own name for each test."""

import uuid
from collections.abc import AsyncGenerator, Callable, Generator

import pytest

from jobs.client import JobClient
from jobs.consumer import JobConsumer
from jobs.types import GeneratedText, Job, Task, Text2TextRequest, TextsResult
from tests.jobs.servers import RedisServer


@pytest.fixture(scope="session")
def server() -> Generator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def client(server: RedisServer, queue: str) -> AsyncGenerator[JobClient]:
    connected = await JobClient.connect(server.url, queue=queue)
    yield connected
    await connected.close()


@pytest.fixture
def consumers(server: RedisServer, queue: str) -> Generator[Callable[..., JobConsumer]]:
    """Makes consumers with short leases; closes them behind the test."""
    made: list[JobConsumer] = []

    def make(worker_id: str | None = None, lease_s: float = 0.5, url: str = server.url) -> JobConsumer:
        worker_id = worker_id or f"worker-{uuid.uuid4().hex}"
        made.append(JobConsumer(url, queue=queue, worker_id=worker_id, lease_s=lease_s))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


@pytest.fixture
def consumer(consumers: Callable[..., JobConsumer]) -> JobConsumer:
    return consumers(lease_s=15.0)


def make_job(prompt: str = "привет", **fields: object) -> Job:
    job_id = str(fields.pop("id", uuid.uuid4().hex))
    seed = int(str(fields.pop("seed", 1)))
    return Job(id=job_id, task=Task.TEXT2TEXT, request=Text2TextRequest(prompt, seed=seed), **fields)  # type: ignore[arg-type]


def make_result(text: str = "ответ") -> TextsResult:
    return TextsResult((GeneratedText(text, count=1),))
