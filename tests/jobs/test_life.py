"""The life of a job, from submission to its one result, over a real server."""

import asyncio
from collections.abc import Callable

import pytest

from jobs.client.client import JobClient
from jobs.contract.errors import JobNotFound
from jobs.contract.events import Progress, StateChanged
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import CommitReply
from tests.support.sample_jobs import make_job, make_result


async def test_submitted_job_is_claimed_computed_and_answered(
    client: JobClient, consumer: JobConsumer
) -> None:
    job = make_job()
    assert (await client.submit(job)).created
    assert (await client.status(job.id)).state is JobState.QUEUED
    waiting = asyncio.create_task(client.wait(job.id, 5))
    [claimed] = await asyncio.to_thread(consumer.claim, 8)
    assert claimed.job == job
    assert claimed.attempt == 1
    assert not claimed.solo
    assert (await client.status(job.id)).state is JobState.RUNNING
    reply = await asyncio.to_thread(
        lambda: consumer.commit(job.id, 1, make_result(), compute_s=0.1, model="350M")
    )
    assert reply is CommitReply.ACCEPTED
    assert await waiting == make_result()
    status = await client.status(job.id)
    assert status.state is JobState.SUCCEEDED
    assert status.model == "350M"
    assert (await client.stats()).totals == {"succeeded": 1}


async def test_events_are_states_and_progress_in_order(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(job)
    stream = client.events(job.id)
    told: list[object] = [(await anext(stream)).body]
    consumer.claim(1)
    consumer.publish(job.id, 1, Progress("decode", 1, 4))
    while (await client.status(job.id)).progress is None:
        await asyncio.sleep(0.02)
    consumer.commit(job.id, 1, make_result(), compute_s=0.1, model="m")
    async with asyncio.timeout(5):
        told.extend([event.body async for event in stream])
    assert told == [
        StateChanged(JobState.QUEUED),
        StateChanged(JobState.RUNNING),
        Progress("decode", 1, 4),
        StateChanged(JobState.SUCCEEDED),
    ]


async def test_failure_of_a_job_is_its_outcome(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(job)
    consumer.claim(1)
    failure = JobFailure("bad_picture", "the picture cannot be read", "image")
    consumer.commit(job.id, 1, failure, compute_s=0.0, model="m")
    assert await client.wait(job.id, 5) == failure
    assert (await client.status(job.id)).state is JobState.FAILED


async def test_unknown_job_is_not_found(client: JobClient) -> None:
    with pytest.raises(JobNotFound):
        await client.status("nobody")
    with pytest.raises(JobNotFound):
        await client.wait("nobody", 1)
    with pytest.raises(JobNotFound):
        await client.cancel("nobody")


async def test_job_of_a_silent_worker_is_done_by_another(
    client: JobClient, consumers: Callable[..., JobConsumer]
) -> None:
    job = make_job()
    await client.submit(job)
    first, second = consumers(lease_s=0.2), consumers(lease_s=0.2)
    assert first.claim(1)[0].attempt == 1
    await asyncio.sleep(0.3)
    assert second.reap() == 1
    assert second.claim(1)[0].attempt == 2
    assert first.renew({job.id: 1}).lost == {job.id}
    assert first.commit(job.id, 1, make_result("late"), compute_s=1, model="m") is CommitReply.FENCED
    assert second.commit(job.id, 2, make_result("right"), compute_s=1, model="m") is CommitReply.ACCEPTED
    assert await client.wait(job.id, 5) == make_result("right")
