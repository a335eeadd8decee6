"""`rudolph jobs` and `rudolph dead` on a real queue: what they show, set right, and refuse."""

import asyncio
import contextlib
import io
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.console import CliError
from cli.main import app
from jobs.client import JobClient
from jobs.consumer import JobConsumer
from jobs.embedded import EmbeddedRedis
from jobs.job import JobState
from tests.jobs.samples import commit, make_job
from tests.jobs.servers import RedisServer


@dataclass
class Queue:
    url: str
    name: str
    client: JobClient
    consumer: JobConsumer

    async def run(self, *arguments: str) -> str:
        """What the command prints; its message, if it ends with an error."""
        group = [] if arguments[0] == "dead" else ["jobs"]
        words = [*group, *arguments, "--redis-url", self.url, "--queue", self.name]
        return await asyncio.to_thread(_run_here, words)

    async def add_dead_letter(self) -> str:
        job = make_job()
        await self.client.submit(job)
        for _ in range(3):
            [claimed] = self.consumer.claim(1)
            self.consumer.report_crash({job.id: claimed.attempt}, message="exit code -11")
        return job.id


def _run_here(words: list[str]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            app(words, standalone_mode=False)
        except CliError as error:
            return f"error: {error}"
    return printed.getvalue()


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "jobs", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(autouse=True)
def no_url_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUDOLPH_REDIS_URL", raising=False)


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


async def test_jobs_are_listed_shown_and_counted(queue: Queue) -> None:
    done, waiting = make_job(), make_job(tenant="кто-то")
    for job in (done, waiting):
        await queue.client.submit(job)
    commit(queue.consumer, queue.consumer.claim(1)[0])
    listed = await queue.run("list")
    assert waiting.id in listed
    assert "кто-то" in listed
    assert done.id not in listed
    assert done.id in await queue.run("list", "succeeded")
    shown = await queue.run("show", done.id)
    assert "succeeded" in shown
    assert "attempt    1" in shown
    counted = await queue.run("stats")
    assert "waiting 1" in counted
    assert "succeeded  1 in all" in counted


async def test_dead_letters_are_listed_retried_and_purged(queue: Queue) -> None:
    first, second = await queue.add_dead_letter(), await queue.add_dead_letter()
    listed = await queue.run("dead")
    assert first in listed
    assert "-11" in listed
    assert "queued again" in await queue.run("retry", first)
    assert (await queue.client.status(first)).state is JobState.QUEUED
    assert "not dead" not in await queue.run("retry", first)
    assert "0 removed" in await queue.run("purge", "--older-than-s", "60")
    assert "1 removed" in await queue.run("purge")
    assert second not in await queue.run("dead")


async def test_job_is_cancelled(queue: Queue) -> None:
    job = make_job()
    await queue.client.submit(job)
    assert "cancelled" in await queue.run("cancel", job.id)
    assert "is cancelled, not dead" in await queue.run("retry", job.id)


async def test_unknown_job_and_unknown_queue_are_told_in_one_line(queue: Queue) -> None:
    assert "error: no job nobody" in await queue.run("show", "nobody")
    name, queue.name = queue.name, "nothing-here"
    assert "knows no queue" in await queue.run("stats")
    queue.name = name


async def test_lost_data_are_accepted_only_by_word(queue: Queue, server: RedisServer) -> None:
    with server.client() as redis:
        for key in redis.scan_iter(f"{{{queue.name}}}*", count=1000):
            redis.delete(key)
    assert "knows no queue" in await queue.run("stats")
    assert "serves again" in await queue.run("accept-data-loss", "--yes")
    assert "waiting 0" in await queue.run("stats")


async def test_embedded_server_of_a_data_directory_is_found(tmp_path: Path) -> None:
    assert "no server runs on" in await asyncio.to_thread(
        _run_here, ["jobs", "stats", "--data-dir", str(tmp_path)]
    )
    with EmbeddedRedis() as embedded:
        client = await JobClient.connect(embedded.start(tmp_path / "redis"))
        reply = await asyncio.to_thread(run_process, "stats", "--data-dir", str(tmp_path))
        assert "waiting 0" in reply.stdout
        await client.close()
