"""A queue of its own for each test of a command, on a real server."""

import asyncio
import contextlib
import io
import uuid
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass

import pytest

from cli.console import CliError
from cli.main import app
from jobs.client.client import JobClient
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import make_job


@dataclass
class Queue:
    url: str
    name: str
    client: JobClient
    consumer: JobConsumer

    async def run(self, *words: str) -> str:
        """Run `rudolph WORDS` on this queue, as `run_here` does."""
        return await asyncio.to_thread(run_here, [*words, "--redis-url", self.url, "--queue", self.name])

    async def add_dead_letter(self, **fields: str) -> str:
        job = make_job(**fields)
        await self.client.submit(job)
        for _ in range(3):
            [claimed] = self.consumer.claim(1)
            self.consumer.report_crash({job.id: claimed.attempt}, message="exit code -11")
        return job.id


def run_here(words: list[str]) -> str:
    """Run a command in this process: what it prints, and its message if it ends with an error."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            app(words, standalone_mode=False)
        except CliError as error:
            return f"{printed.getvalue()}error: {error}"
    return printed.getvalue()


@pytest.fixture(scope="module")
def server() -> Generator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
async def queue(server: RedisServer) -> AsyncGenerator[Queue]:
    name = f"cli-{uuid.uuid4().hex}"
    client = await JobClient.connect(server.url, queue=name)
    consumer = JobConsumer(server.url, queue=name, worker_id="w")
    yield Queue(server.url, name, client, consumer)
    consumer.close()
    await client.close()
