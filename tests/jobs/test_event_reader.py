"""Waiting for jobs: one reader for a process, resumable streams, and no dependence on any event."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis

from jobs.client.client import JobClient
from jobs.contract.errors import JobNotFound, QueueError
from jobs.contract.events import Event, PartialImage, Progress, StateChanged
from jobs.contract.job import JobState
from jobs.redis import keys
from jobs.redis.scripts import load_scripts
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job, make_result


async def _collect(client: JobClient, job_id: str, after: str | None = None) -> list[Event]:
    return [event async for event in client.events(job_id, after)]


async def _run_with_progress(client: JobClient, consumer: JobConsumer, steps: int) -> tuple[str, list[Event]]:
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    events = [await anext(stream)]
    [claimed] = consumer.claim(1)
    for step in range(steps):
        consumer.publish(job.id, 1, Progress("decode", step, steps))
    while (await client.status(job.id)).progress != Progress("decode", steps - 1, steps):
        await asyncio.sleep(0.02)
    commit(consumer, claimed)
    async with asyncio.timeout(5):
        events.extend([event async for event in stream])
    return job.id, events


async def test_interrupted_stream_continues_after_its_last_event(
    client: JobClient, consumer: JobConsumer
) -> None:
    job_id, events = await _run_with_progress(client, consumer, 5)
    assert len(events) == 8
    for index, event in enumerate(events[:-1]):
        assert await _collect(client, job_id, event.id) == events[index + 1 :]


async def test_another_process_can_continue_the_stream(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job_id, events = await _run_with_progress(client, consumer, 5)
    other = await JobClient.connect(server.url, queue=queue)
    assert await _collect(other, job_id, events[3].id) == events[4:]
    await other.close()


async def test_stream_of_an_ended_job_is_its_state(client: JobClient, consumer: JobConsumer) -> None:
    job_id, _ = await _run_with_progress(client, consumer, 1)
    assert [event.body for event in await _collect(client, job_id)] == [StateChanged(JobState.SUCCEEDED)]


async def test_stream_of_an_unknown_job_is_not_found(client: JobClient) -> None:
    with pytest.raises(JobNotFound):
        await _collect(client, "nobody")


async def test_partial_images_reach_subscribers(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    await anext(stream)
    [claimed] = consumer.claim(1)
    picture = PartialImage(0, 0, b"\x89PNG" + bytes(20_000))
    consumer.publish(job.id, 1, picture)
    await asyncio.to_thread(consumer.close)
    commit(consumer, claimed)
    assert picture in [event.body async for event in stream]


async def test_large_events_do_not_pile_up(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    await client.submit(make_job())
    [claimed] = consumer.claim(1)
    for index in range(900):
        consumer.publish(claimed.job.id, 1, PartialImage(0, index, bytes(8_000)))
    await asyncio.to_thread(consumer.close)
    with server.client() as wire:
        assert wire.xlen(keys.events(queue)) < 700


async def test_wait_ends_although_the_event_was_lost(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    waiting = asyncio.create_task(client.wait(job.id, 10))
    listening = asyncio.create_task(_collect(client, job.id))
    await asyncio.sleep(0.3)
    [claimed] = consumer.claim(1)
    with server.client() as wire:
        for _ in range(3):  # until the reader looks at a stream without the event
            wire.delete(keys.events(queue))
        pipeline = wire.pipeline()
        pipeline.client_kill_filter(_type="normal", skipme=True)
        pipeline.execute()
    commit(consumer, claimed)
    with server.client() as wire:
        wire.xtrim(keys.events(queue), 0, approximate=False)
    assert await asyncio.wait_for(waiting, 5) == make_result()
    events = await asyncio.wait_for(listening, 5)
    assert events[-1].body == StateChanged(JobState.SUCCEEDED)


async def test_wait_for_a_new_job_whose_end_came_first(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(make_job())
    with client.subscribe(job.id) as events:  # the reader runs before the job ends
        await client.submit(job)
        for claimed in consumer.claim(2):
            commit(consumer, claimed)
        assert [event async for event in events][-1].body == StateChanged(JobState.SUCCEEDED)
    started = time.monotonic()
    _, outcome = await client.final_report(job.id, 5, is_new=True)
    assert outcome == make_result()
    assert time.monotonic() - started < 0.5  # not by the polling, which needs two rounds of a second


async def test_a_new_job_is_asked_for_once(
    client: JobClient, consumer: JobConsumer, server: RedisServer
) -> None:
    job = make_job()
    await client.submit(job)
    report, asked = load_scripts()["report"].sha, 0
    with server.client() as wire, wire.monitor() as monitor:
        waiting = asyncio.create_task(client.final_report(job.id, 5, is_new=True))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(commit, consumer, consumer.claim(1)[0])
        await waiting
        with server.client() as other:
            other.ping()
        while "PING" not in (command := monitor.next_command()["command"]):
            asked += report in command
    assert asked == 1


async def test_wait_gives_up_in_time(client: JobClient) -> None:
    job = make_job()
    await client.submit(job)
    with pytest.raises(TimeoutError):
        await client.wait(job.id, 0.2)


async def test_waiters_of_a_restarted_server_get_their_results(
    server: RedisServer, queue: str, consumers: Callable[..., JobConsumer]
) -> None:
    with RedisServer(binary=server.binary, appendfsync="always") as own:
        client = await JobClient.connect(own.url, queue=queue)
        consumer = consumers(url=own.url)
        job = make_job()
        await client.submit(job)
        waiting = asyncio.create_task(client.wait(job.id, 20))
        [claimed] = consumer.claim(1)
        own.kill()
        await asyncio.sleep(0.5)
        own.start()
        await asyncio.to_thread(commit, consumer, claimed)
        assert await waiting == make_result()
        await client.close()


def _scripts_run(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    assert isinstance(stats, dict)
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_thousands_of_waiters_cost_one_reader(
    clients: Callable[..., Coroutine[Any, Any, JobClient]],
    consumer: JobConsumer,
    server: RedisServer,
    queue: str,
) -> None:
    client = await clients(max_depth=5000)
    jobs = [make_job() for _ in range(250)]
    await asyncio.gather(*(client.submit(job) for job in jobs))
    waiting = [asyncio.create_task(client.wait(job.id, 30)) for job in jobs for _ in range(4)]
    with server.client() as wire:
        settled = 0
        while (now := _scripts_run(wire)) - settled > 5:  # each waiter queries once when it begins
            settled = now
            await asyncio.sleep(0.4)
        await asyncio.sleep(1.5)
        assert 2 <= _scripts_run(wire) - now <= 12  # polls in bulk, and the reaping
        readers = [entry for entry in wire.client_list() if entry["cmd"] == "xread"]
    assert len(readers) == 1

    def work() -> None:
        while batch := consumer.claim(64):
            for claimed in batch:
                commit(consumer, claimed)

    await asyncio.to_thread(work)
    assert await asyncio.gather(*waiting) == [make_result()] * 1000


async def test_slow_reader_loses_progress_but_never_the_end(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    first = await anext(stream)
    assert first.body == StateChanged(JobState.QUEUED)
    [claimed] = consumer.claim(1)
    for step in range(600):
        consumer.publish(job.id, 1, Progress("decode", step, 600))
    await asyncio.to_thread(consumer.close)
    commit(consumer, claimed)
    await asyncio.sleep(0.5)
    rest = [event.body async for event in stream]
    assert len(rest) <= 256
    assert rest[-1] == StateChanged(JobState.SUCCEEDED)


async def test_events_of_a_newer_release_do_not_stop_the_reader(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    listening = asyncio.create_task(_collect(client, job.id))
    await asyncio.sleep(0.2)
    with server.client() as wire:
        for fields in ({"b": b"E\x63\x80"}, {"s": "pondering", "r": ""}, {"z": "1"}):
            wire.xadd(keys.events(queue), {"j": job.id, "a": "1", **fields})
    commit(consumer, consumer.claim(1)[0])
    assert (await asyncio.wait_for(listening, 1.9))[-1].body == StateChanged(JobState.SUCCEEDED)


DAMAGED: list[dict[str | bytes, str | bytes]] = [
    {"foo": "bar"},
    {"j": b"\xff\xfe", "a": "1", "s": "running", "r": ""},
    {"j": "job", "a": "first", "s": "running", "r": ""},
    {"j": "job", "s": "running", "r": ""},
    {"j": "job", "a": "1", "s": b"\xff", "r": ""},
    {"j": "job", "a": "1", "b": b"E\x01\xc1"},
]


@pytest.mark.parametrize("fields", DAMAGED)
async def test_a_damaged_entry_costs_no_other_event(
    client: JobClient,
    consumer: JobConsumer,
    server: RedisServer,
    queue: str,
    caplog: pytest.LogCaptureFixture,
    fields: dict[Any, Any],
) -> None:
    job = make_job()
    await client.submit(job)
    listening = asyncio.create_task(_collect(client, job.id))
    await asyncio.sleep(0.2)
    with server.client() as wire:
        wire.xadd(keys.events(queue), fields)
    [claimed] = consumer.claim(1)
    consumer.publish(job.id, 1, Progress("decode", 1, 2))
    commit(consumer, claimed)
    started = time.monotonic()
    events = [event.body for event in await asyncio.wait_for(listening, 5)]
    assert time.monotonic() - started < 0.9  # by the stream, not by the polling
    assert events == [
        StateChanged(JobState.QUEUED),
        StateChanged(JobState.RUNNING),
        Progress("decode", 1, 2),
        StateChanged(JobState.SUCCEEDED),
    ]
    assert "cannot be read" in caplog.text


async def test_a_stream_starts_although_a_damaged_entry_is_in_its_history(
    client: JobClient, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    with server.client() as wire:
        wire.xadd(keys.events(queue), {"foo": "bar"})
    other = await JobClient.connect(server.url, queue=queue)
    stream = other.events(job.id)
    assert (await asyncio.wait_for(anext(stream), 3)).body == StateChanged(JobState.QUEUED)
    await stream.aclose()
    await other.close()


async def test_a_stream_key_of_another_type_leaves_waiting_to_the_polling(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    waiting = asyncio.create_task(client.wait(job.id, 10))
    await asyncio.sleep(0.2)
    [claimed] = consumer.claim(1)
    commit(consumer, claimed)
    assert await waiting == make_result()
    with server.client() as wire:
        wire.delete(keys.events(queue))
        wire.set(keys.events(queue), "not a stream")
        await asyncio.sleep(0.5)
        wire.delete(keys.events(queue))
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    assert (await asyncio.wait_for(anext(stream), 3)).body == StateChanged(JobState.QUEUED)
    await stream.aclose()


async def test_a_damaged_record_keeps_no_other_job_waiting(
    client: JobClient, consumers: Callable[..., JobConsumer], server: RedisServer, queue: str
) -> None:
    """Of a queued job, of a running one, and of one that a client waits for."""
    jobs = [make_job() for _ in range(4)]
    for job in jobs:
        await client.submit(job)
    silent, other = consumers(lease_s=0.2), consumers(lease_s=0.2)
    silent.claim(2)
    waiting = asyncio.create_task(client.wait(jobs[1].id, 10))
    lost = asyncio.create_task(client.wait(jobs[0].id, 10))
    await asyncio.sleep(0.3)
    with server.client() as wire:
        for damaged in (jobs[0], jobs[2]):
            wire.set(f"{keys.prefix(queue)}job:{damaged.id}", "not a hash")
    assert silent.renew({jobs[0].id: 1}).lost == {jobs[0].id}
    other.reap()
    claimed = other.claim(4)
    assert sorted(one.job.id for one in claimed) == sorted((jobs[1].id, jobs[3].id))
    for one in claimed:
        commit(other, one)
    assert await waiting == make_result()
    with pytest.raises(QueueError):
        await lost


async def test_closed_stream_removes_its_subscription(client: JobClient) -> None:
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    await anext(stream)
    await stream.aclose()
    waiting = asyncio.create_task(client.wait(job.id, 5))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert client._events._inboxes == {}
