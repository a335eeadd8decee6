"""`rudolph workers` on a real queue: what it shows, what a pause and a drain change."""

import asyncio
import json

from tests.cli.conftest import Queue
from tests.support.sample_jobs import make_job, make_worker


async def test_workers_are_listed_with_their_jobs(queue: Queue) -> None:
    assert json.loads(await queue.run("workers", "list", "--json")) == []
    queue.consumer.heartbeat(make_worker("w"))
    await queue.client.submit(make_job())
    queue.consumer.claim(1)
    (listed,) = json.loads(await queue.run("workers", "list", "--json"))
    assert listed == {
        "id": "w", "host": "here", "pid": 1, "release": "unknown", "model": "350M@abc", "device": "cpu",
        "slots": 8, "jobs": 1, "state": "works",
    }  # fmt: skip
    assert "350M@abc" in await queue.run("workers", "list")


async def test_paused_queue_accepts_jobs_and_gives_out_none(queue: Queue) -> None:
    await queue.client.submit(make_job())
    assert await queue.run("workers", "pause", "--reason", "new disk") == "paused\n"
    assert "already paused" in await queue.run("workers", "pause", "--reason", "newer disk")
    await queue.client.submit(make_job())
    assert queue.consumer.claim(2) == []
    counted = await queue.run("jobs", "stats")
    assert "waiting 2" in counted
    assert "newer disk" in counted
    assert await queue.run("workers", "resume") == "resumed\n"
    assert "was not paused" in await queue.run("workers", "resume")
    assert len(queue.consumer.claim(2)) == 2


async def test_drained_worker_keeps_its_jobs_and_gets_no_more(queue: Queue) -> None:
    assert queue.consumer.heartbeat(make_worker("w")) is False
    for _ in range(2):
        await queue.client.submit(make_job())
    assert len(queue.consumer.claim(1)) == 1
    assert await queue.run("workers", "drain", "--host", "here") == "w drains\n"
    assert queue.consumer.claim(1) == []
    assert queue.consumer.heartbeat(make_worker("w")) is True
    (listed,) = json.loads(await queue.run("workers", "list", "--json"))
    assert (listed["state"], listed["jobs"]) == ("drains", 1)
    queue.consumer.leave(make_worker("w"))
    assert queue.consumer.heartbeat(make_worker("w")) is False  # another process with the same fixed id


async def test_drain_waits_until_the_worker_has_left(queue: Queue) -> None:
    queue.consumer.heartbeat(make_worker("w"))
    assert "error: 1 workers have not left within 0.1 s." in await queue.run(
        "workers", "drain", "w", "--wait-s", "0.1"
    )
    waiting = asyncio.create_task(queue.run("workers", "drain", "w", "--wait-s", "20"))
    await asyncio.sleep(1)
    assert not waiting.done()
    queue.consumer.leave(make_worker("w"))
    assert await waiting == "w has left\n"


async def test_workers_that_do_not_exist_are_named(queue: Queue) -> None:
    queue.consumer.heartbeat(make_worker("w"))
    assert "No live worker is named v" in await queue.run("workers", "drain", "w", "v")
    assert "No worker is on there" in await queue.run("workers", "drain", "--host", "there")
    assert "Name the ids of workers or --host" in await queue.run("workers", "drain")
    assert queue.consumer.heartbeat(make_worker("w")) is False
