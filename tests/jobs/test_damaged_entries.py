"""One bad entry in Redis, of a newer release or another program, harms no other job and stops no process."""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
from redis import Redis

from jobs.client.client import JobClient
from jobs.contract import codec
from jobs.contract.errors import QueueError
from jobs.contract.events import Progress
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job, make_result, make_worker

Change = Callable[[Redis, str], Any]

DAMAGED_RECORDS: dict[str, Change] = {
    "a text": lambda redis, key: redis.set(key, "text"),
    "a foreign hash": lambda redis, key: redis.hset(key, mapping={"foo": "bar"}),
    "states alone": lambda redis, key: redis.hset(
        key, mapping={"state": "running", "attempt": "1", "worker": "w"}
    ),
    "a queued state alone": lambda redis, key: redis.hset(key, mapping={"state": "queued"}),
    "a list": lambda redis, key: redis.rpush(key, "a"),
    "bytes that are not UTF-8": lambda redis, key: redis.hset(
        key, mapping={b"\xff": b"\xfe", "state": b"\xff"}
    ),
}
DAMAGED_FIELDS = {
    name: {field: value}
    for name, field, value in [
        ("bytes", "bytes", "many"), ("score", "score", ""), ("tag", "tag", "x"), ("ttl", "ttl", "soon"),
        ("created", "created", "today"), ("deadline", "deadline", "never"),
    ]
}  # fmt: skip


@pytest.fixture
def redis(server: RedisServer) -> Generator[Redis]:
    with server.client() as client:
        yield client


@pytest.mark.parametrize(
    "fields",
    [
        {"foo": "bar"},
        {"j": b"\xff\xfe", "a": "1", "s": "running", "r": ""},
        {"j": "job", "a": "first", "s": "running", "r": ""},
        {"j": "job", "a": "1", "s": "paused", "r": ""},
        {"j": "job", "a": "1", "b": b"E\x02\x80"},
        {"j": "job", "a": "1", "b": b"E\x01\x81\xa4type\xa5later"},
        {"j": "job", "a": "1", "b": codec.encode_worker(make_worker("w"))},
    ],
)
async def test_a_bad_event_delays_no_other_event(
    client: JobClient, consumer: JobConsumer, redis: Redis, queue: str, fields: dict[str, str | bytes]
) -> None:
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    await anext(stream)
    for _ in range(3):
        redis.xadd(f"{{{queue}}}:ev", fields)  # type: ignore[arg-type]
    [claimed] = consumer.claim(1)
    consumer.publish(job.id, 1, Progress("decode", 1, 2))
    started_s = time.monotonic()
    commit(consumer, claimed)
    async with asyncio.timeout(5):
        bodies = [event.body async for event in stream]
    assert Progress("decode", 1, 2) in bodies
    assert time.monotonic() - started_s < 1.0  # by its event, not by the polling
    assert client.unreadable["event"] == 3


async def test_without_the_stream_jobs_end_and_events_return_with_it(
    client: JobClient, consumer: JobConsumer, redis: Redis, queue: str
) -> None:
    redis.set(f"{{{queue}}}:ev", "no stream")
    job = make_job()
    await client.submit(job)
    waiting = asyncio.create_task(client.wait(job.id, 10))
    await asyncio.sleep(0.1)
    [claimed] = consumer.claim(1)
    consumer.publish(job.id, 1, Progress("decode", 1, 2))
    commit(consumer, claimed)
    assert await waiting == make_result()
    redis.delete(f"{{{queue}}}:ev")
    other = make_job()
    await client.submit(other)
    stream = client.events(other.id)
    await anext(stream)
    [claimed] = consumer.claim(1)
    await asyncio.sleep(0.5)
    consumer.publish(other.id, 1, Progress("decode", 1, 2))
    commit(consumer, claimed)
    async with asyncio.timeout(5):
        assert Progress("decode", 1, 2) in [event.body async for event in stream]


@pytest.mark.parametrize("name", DAMAGED_RECORDS)
async def test_a_damaged_record_keeps_no_other_job_from_its_end(
    client: JobClient, consumers: Callable[..., JobConsumer], redis: Redis, queue: str, name: str
) -> None:
    prefix = f"{{{queue}}}:"
    good = make_job(deadline_s=60)
    await client.submit(good)
    DAMAGED_RECORDS[name](redis, f"{prefix}job:bad")
    for place, score in (("ready", -1e9), ("leases", 1), ("deadlines", 1), ("dead", 1), ("done", 1e12)):
        redis.zadd(f"{prefix}{place}", {"bad": score})
    consumer = consumers()
    consumer.reap()
    [claimed] = [one for _ in range(2) for one in consumer.claim(1)]
    assert claimed.job.id == good.id
    commit(consumer, claimed)
    assert await client.outcome(good.id) == make_result()
    consumer.reap()
    for state in (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED):
        assert [job.id for job in await client.list_jobs(state)] in ([], [good.id])
    redis.zadd(f"{prefix}dead", {"bad": 1})
    assert await client.dead() == []
    assert await client.purge() == 1
    assert (await client.stats()).unreadable >= 1
    with pytest.raises(QueueError, match="There is no job"):  # purged
        await client.status("bad")


@pytest.mark.parametrize("name", DAMAGED_FIELDS)
async def test_a_record_with_one_wrong_number_harms_no_other_job(
    client: JobClient, consumers: Callable[..., JobConsumer], redis: Redis, queue: str, name: str
) -> None:
    bad, good = make_job(priority=-1, deadline_s=60), make_job()
    await client.submit(bad)
    await client.submit(good)
    redis.hset(f"{{{queue}}}:job:{bad.id}", mapping=DAMAGED_FIELDS[name])
    consumer = consumers()
    assert [one.job.id for _ in range(2) for one in consumer.claim(8)] == [good.id]
    redis.zadd(f"{{{queue}}}:leases", {bad.id: 1})
    redis.hset(f"{{{queue}}}:job:{bad.id}", "state", "running")
    consumer.reap()
    assert (await client.stats()).unreadable == 2


async def test_an_input_of_another_type_fails_its_job_alone(
    client: JobClient, consumer: JobConsumer, redis: Redis, queue: str
) -> None:
    bad, good = make_job(priority=-1), make_job()
    await client.submit(bad)
    await client.submit(good)
    redis.delete(f"{{{queue}}}:in:{bad.id}")
    redis.rpush(f"{{{queue}}}:in:{bad.id}", "x")
    assert [one.job.id for one in consumer.claim(8)] == [good.id]
    outcome = await client.outcome(bad.id)
    assert isinstance(outcome, JobFailure)
    assert outcome.code == "unreadable_job"


async def test_counts_of_another_type_keep_no_job_from_its_end(
    client: JobClient, consumer: JobConsumer, redis: Redis, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    redis.set(f"{{{queue}}}:tenant:default", "text")
    redis.set(f"{{{queue}}}:wake", "text")
    [claimed] = consumer.claim(1)
    commit(consumer, claimed)
    assert await client.outcome(job.id) == make_result()


async def test_a_heartbeat_of_another_type_hides_no_worker(
    client: JobClient, consumers: Callable[..., JobConsumer], redis: Redis, queue: str
) -> None:
    redis.hset(f"{{{queue}}}:worker:odd", mapping={"a": "b"})
    redis.zadd(f"{{{queue}}}:workers", {"odd": 1e12, b"\xff": 1e12})
    consumers("w").join(make_worker("w"))
    for _ in range(2):
        assert [worker.id for worker in await client.workers()] == ["w"]
    assert client.unreadable["heartbeat"] == 1


async def test_polling_goes_on_after_a_failure_that_nobody_expected(
    client: JobClient,
    consumer: JobConsumer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = [True]
    poll = type(client._events)._poll

    async def fail_once(reader: object) -> None:
        if broken.pop() if broken else False:
            raise RuntimeError("not expected")
        await poll(reader)  # type: ignore[arg-type]

    monkeypatch.setattr(type(client._events), "_poll", fail_once)
    await asyncio.sleep(1.2)
    assert "cannot be polled" in caplog.text
    job = make_job()
    await client.submit(job)
    with client._events.subscribe(job.id) as inbox:
        commit(consumer, consumer.claim(1)[0])
        async with asyncio.timeout(5):
            while not inbox.ended:
                await asyncio.sleep(0.05)
