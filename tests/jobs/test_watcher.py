"""Waiting: one reader a process, cheap for thousands, resumable, and never fooled by a lost event."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis

from jobs import keys
from jobs.client import JobClient
from jobs.consumer import JobConsumer
from jobs.errors import JobNotFound
from jobs.events import Event, PartialImage, Progress, StateChanged
from jobs.job import JobState
from jobs.scripts import load_scripts
from tests.jobs.samples import commit, make_job, make_result
from tests.jobs.servers import RedisServer


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


async def test_cut_stream_goes_on_behind_the_last_event(client: JobClient, consumer: JobConsumer) -> None:
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


async def test_ended_job_tells_its_state_and_ends(client: JobClient, consumer: JobConsumer) -> None:
    job_id, _ = await _run_with_progress(client, consumer, 1)
    assert [event.body for event in await _collect(client, job_id)] == [StateChanged(JobState.SUCCEEDED)]


async def test_stream_of_an_unknown_job_is_not_found(client: JobClient) -> None:
    with pytest.raises(JobNotFound):
        await _collect(client, "nobody")


async def test_partial_pictures_reach_those_who_watch(client: JobClient, consumer: JobConsumer) -> None:
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
    with client.expect(job.id) as heard:  # the reader runs before the end is told
        await client.submit(job)
        for claimed in consumer.claim(2):
            commit(consumer, claimed)
        assert [event async for event in heard][-1].body == StateChanged(JobState.SUCCEEDED)
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
    with RedisServer(binary=server.binary) as own:
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
        while (now := _scripts_run(wire)) - settled > 5:  # each looks once by itself when it begins
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


async def test_left_stream_leaves_nothing_behind(client: JobClient) -> None:
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    await anext(stream)
    await stream.aclose()
    waiting = asyncio.create_task(client.wait(job.id, 5))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert client._watcher._inboxes == {}
