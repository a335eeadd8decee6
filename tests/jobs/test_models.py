"""One model at a time serves a queue, and a job is computed by the model that it was accepted for."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from jobs.client.client import JobClient
from jobs.contract import codec
from jobs.contract.errors import OtherModel
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure
from jobs.contract.worker_info import WorkerInfo
from jobs.redis import scripts
from jobs.redis.transport import SyncTransport
from jobs.worker.consumer import JobConsumer
from tests.support.sample_jobs import commit, make_job, make_worker

Consumers = Callable[..., JobConsumer]


def describe(
    worker_id: str, *, revision: str = "abc", name: str = "350M", draining: bool = False
) -> WorkerInfo:
    info = make_worker(worker_id, draining=draining)
    model = msgspec.structs.replace(info.model, name=name, revision=revision)
    return msgspec.structs.replace(info, model=model)


@pytest.mark.parametrize("other", [{"revision": "other"}, {"name": "tiny"}])
async def test_a_worker_of_another_model_does_not_join(
    client: JobClient, consumers: Consumers, other: dict[str, str]
) -> None:
    consumers("a").join(describe("a"))
    consumers("b").join(describe("b"))
    with pytest.raises(OtherModel, match=r"350M@abc.*RUDOLPH_QUEUE_NAME"):
        consumers("c").join(describe("c", **other))
    assert {worker.id for worker in await client.workers()} == {"a", "b"}


async def test_a_worker_of_an_older_release_holds_the_queue_too(
    client: JobClient, consumers: Consumers, transport: SyncTransport
) -> None:
    """Its heartbeat names no model to the script, only to the reader of the description."""
    info = codec.encode_worker(describe("old", revision="first"))
    transport.run(scripts.heartbeat(worker="old", info=info, ttl_s=10, model=""), retry_for_s=1)
    with pytest.raises(OtherModel, match="350M@first"):
        consumers("new").join(describe("new", revision="second"))
    consumers("same").join(describe("same", revision="first"))
    assert len(await client.workers()) == 2


async def test_the_queue_is_free_when_its_last_worker_leaves(client: JobClient, consumers: Consumers) -> None:
    first, second, other = consumers("a"), consumers("b"), consumers("c")
    first.join(describe("a"))
    second.join(describe("b"))
    first.leave(describe("a"))
    with pytest.raises(OtherModel):
        other.join(describe("c", revision="new"))
    second.leave(describe("b"))
    other.join(describe("c", revision="new"))
    await asyncio.sleep(0.05)  # the last heartbeats of the others are valid for 10 ms
    assert [worker.id for worker in await client.workers()] == ["c"]


async def test_the_queue_is_free_when_the_heartbeats_of_killed_workers_expire(
    client: JobClient, consumers: Consumers
) -> None:
    consumers("a").join(describe("a"), ttl_s=1.0)
    with pytest.raises(OtherModel):
        consumers("b").join(describe("b", revision="new"))
    await asyncio.sleep(1.1)
    consumers("b").join(describe("b", revision="new"))


async def test_a_draining_worker_makes_room_for_the_next_model(
    client: JobClient, consumers: Consumers
) -> None:
    first = consumers("a")
    first.join(describe("a"), ttl_s=1.0)
    first.heartbeat(describe("a", draining=True))
    await asyncio.sleep(1.1)
    consumers("b").join(describe("b", revision="new"))
    assert {worker.id for worker in await client.workers()} == {"a", "b"}
    first.heartbeat(describe("a", draining=True))  # it may finish its jobs


async def test_a_frozen_worker_is_refused_when_another_model_has_taken_its_place(
    client: JobClient, consumers: Consumers
) -> None:
    first = consumers("a")
    first.join(describe("a"), ttl_s=1.0)
    await asyncio.sleep(1.1)
    consumers("b").join(describe("b", revision="new"))
    with pytest.raises(OtherModel, match="350M@new"):
        first.heartbeat(describe("a"))
    assert [worker.id for worker in await client.workers()] == ["b"]


async def test_a_job_waits_for_a_worker_of_its_model(client: JobClient, consumers: Consumers) -> None:
    jobs = [make_job(model_revision="350M@abc", synchronous=False, priority=priority) for priority in (5, -5)]
    for job in jobs:
        await client.submit(job)
    newest = consumers("new")
    newest.join(describe("new", revision="new"))
    assert newest.claim(8) == []
    own = make_job(model_revision="350M@new", synchronous=False)
    await client.submit(own)
    assert [claimed.job.id for claimed in newest.claim(8)] == [own.id]
    stats = await client.stats()
    assert (stats.waiting, stats.parked) == (0, 2)
    assert {status.id for status in await client.list_jobs(JobState.QUEUED)} == {job.id for job in jobs}
    assert (await client.status(jobs[0].id)).state is JobState.QUEUED

    newest.leave(describe("new", revision="new"))
    again = consumers("again")
    again.join(describe("again"))
    claimed = again.claim(8)
    assert [one.job.id for one in claimed] == [jobs[1].id, jobs[0].id]  # in the order of their priorities
    commit(again, claimed[0])
    assert (await client.status(jobs[1].id)).state is JobState.SUCCEEDED
    assert (await client.stats()).parked == 0


async def test_a_synchronous_job_of_another_model_fails_at_once_and_names_both(
    client: JobClient, consumers: Consumers
) -> None:
    job = make_job(model_revision="350M@abc")
    await client.submit(job)
    worker = consumers("new")
    worker.join(describe("new", revision="new"))
    assert worker.claim(8) == []
    outcome = await client.outcome(job.id)
    assert isinstance(outcome, JobFailure)
    assert outcome.code == "model_changed"
    assert "350M@abc" in outcome.message
    assert "350M@new" in outcome.message


async def test_parked_jobs_are_cancelled_and_expire(client: JobClient, consumers: Consumers) -> None:
    cancelled = make_job(model_revision="350M@abc", synchronous=False)
    expiring = make_job(model_revision="350M@abc", synchronous=False, deadline_s=0.5)
    for job in (cancelled, expiring):
        await client.submit(job)
    worker = consumers("new")
    worker.join(describe("new", revision="new"))
    assert worker.claim(8) == []
    assert (await client.stats()).parked == 2
    assert await client.cancel(cancelled.id) is JobState.CANCELLED
    await asyncio.sleep(0.6)
    worker.reap()
    assert (await client.status(expiring.id)).state is JobState.EXPIRED
    assert (await client.stats()).parked == 0


async def test_many_jobs_of_another_model_do_not_delay_the_others_for_long(
    client: JobClient, consumers: Consumers
) -> None:
    for _ in range(250):
        await client.submit(make_job(model_revision="350M@abc", synchronous=False, priority=-1))
    own = make_job(model_revision="350M@new", synchronous=False)
    await client.submit(own)
    worker = consumers("new")
    worker.join(describe("new", revision="new"))
    claims = [worker.claim(1) for _ in range(3)]
    assert [claimed.job.id for claim in claims for claimed in claim] == [own.id]


async def test_a_job_without_a_model_is_done_by_any(client: JobClient, consumers: Consumers) -> None:
    job = make_job()
    await client.submit(job)
    worker = consumers("w")
    worker.join(describe("w"))
    assert [claimed.job.id for claimed in worker.claim(1)] == [job.id]
