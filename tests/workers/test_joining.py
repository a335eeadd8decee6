"""How a worker joins a queue: it waits for Redis and for the workers before it, or ends with a reason."""

import asyncio
import threading
import time
import uuid
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from jobs.client.client import JobClient
from jobs.worker.consumer import JobConsumer
from model.files.checkpoint import load_rudolph
from model.rudolph import Rudolph
from tests.support.redis_servers import RedisServer
from tests.support.redis_users import make_user
from tests.support.sample_jobs import make_worker
from tests.workers.running import RunningWorker
from workers import exit_codes, joining


@pytest.fixture(scope="module")
def rudolph(tiny_v2: Path) -> Rudolph:
    return load_rudolph(tiny_v2, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def queue(redis: RedisServer) -> str:
    name = f"test-{uuid.uuid4().hex}"
    await (await JobClient.connect(redis.url, queue=name)).close()
    return name


def _other(redis: RedisServer, queue: str) -> JobConsumer:
    consumer = JobConsumer(redis.url, queue=queue, worker_id="other")
    consumer.join(make_worker("other"))
    return consumer


def test_a_worker_of_another_model_ends_after_the_time_of_a_heartbeat(
    rudolph: Rudolph, redis: RedisServer, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "HELD_FOR_S", 1.0)
    other = _other(redis, queue)
    try:
        assert RunningWorker(rudolph, redis.url, queue).join() == exit_codes.MISCONFIGURED
    finally:
        other.close()


async def test_a_worker_waits_for_the_last_worker_of_another_model(
    rudolph: Rudolph, redis: RedisServer, queue: str
) -> None:
    other = _other(redis, queue)
    running = RunningWorker(rudolph, redis.url, queue)
    client = await JobClient.connect(redis.url, queue=queue)
    try:
        await asyncio.sleep(0.5)
        assert [worker.id for worker in await client.workers()] == ["other"]
        assert running.worker.unready() == "The worker has not joined its queue yet."
        other.leave(make_worker("other"))
        await _until_live(client, running.id)
        assert running.worker.unready() is None
    finally:
        await client.close()
        other.close()
        assert running.drain() == exit_codes.DRAINED


async def test_a_worker_that_lost_its_place_to_another_model_drains_and_ends(
    rudolph: Rudolph, redis: RedisServer, queue: str
) -> None:
    running = RunningWorker(rudolph, redis.url, queue)
    client = await JobClient.connect(redis.url, queue=queue)
    try:
        await _until_live(client, running.id)
        with redis.client() as plain:  # as if it had been frozen, and the other had joined since
            plain.set(f"{{{queue}}}:model", "other@1", ex=30)
        assert await asyncio.to_thread(running.join) == exit_codes.MISCONFIGURED
    finally:
        await client.close()


def test_a_worker_without_a_right_ends_at_once(rudolph: Rudolph, redis: RedisServer, queue: str) -> None:
    url = make_user(redis, "poor", queue, without="hincrby")
    started_s = time.monotonic()
    assert RunningWorker(rudolph, url, queue).join() == exit_codes.MISCONFIGURED
    assert time.monotonic() - started_s < joining.HELD_FOR_S


async def test_a_worker_waits_for_a_queue_and_joins_it_when_it_is_made(
    rudolph: Rudolph, redis: RedisServer
) -> None:
    name = f"test-{uuid.uuid4().hex}"
    running = RunningWorker(rudolph, redis.url, name)
    await asyncio.sleep(0.5)
    client = await JobClient.connect(redis.url, queue=name)
    try:
        await _until_live(client, running.id)
    finally:
        await client.close()
        assert running.drain() == exit_codes.DRAINED


def test_a_worker_that_waits_can_be_stopped(redis: RedisServer, queue: str) -> None:
    other = _other(redis, queue)
    consumer = JobConsumer(redis.url, queue=queue, worker_id="w")
    draining = threading.Event()
    model = msgspec.structs.replace(make_worker("w").model, revision="new")
    info = msgspec.structs.replace(make_worker("w"), model=model)
    threading.Timer(0.3, draining.set).start()
    try:
        assert joining.join(consumer, lambda: info, draining) is None
        assert draining.is_set()
    finally:
        other.close()
        consumer.close()


async def _until_live(client: JobClient, worker_id: str) -> None:
    async with asyncio.timeout(15):
        while worker_id not in [worker.id for worker in await client.workers()]:
            await asyncio.sleep(0.05)
