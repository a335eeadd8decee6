"""Jobs that crash workers: they are isolated, and given up after two crashes alone. Other jobs finish."""

import asyncio
from collections.abc import Callable

import pytest

from jobs.client.client import JobClient
from jobs.contract.errors import JobNotFound
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure
from jobs.redis import keys
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job


async def _crash(worker: JobConsumer, limit: int = 8) -> list[str]:
    batch = worker.claim(limit)
    return worker.report_crash({claimed.job.id: claimed.attempt for claimed in batch}, message="SIGSEGV")


async def test_jobs_of_a_crashed_batch_come_back_one_by_one(client: JobClient, consumer: JobConsumer) -> None:
    jobs = [make_job() for _ in range(3)]
    for job in jobs:
        await client.submit(job)
    assert await _crash(consumer) == []
    for job in jobs:
        [claimed] = consumer.claim(8)
        assert claimed.solo
        assert claimed.job.id == job.id
        commit(consumer, claimed)
    assert (await client.stats()).totals == {"succeeded": 3}


async def test_solo_job_never_joins_a_batch(client: JobClient, consumer: JobConsumer) -> None:
    suspect = make_job()
    await client.submit(suspect)
    await _crash(consumer)
    early, late = make_job(priority=-1), make_job()
    for job in (early, late):
        await client.submit(job)
    assert [[claimed.job.id for claimed in consumer.claim(8)] for _ in range(3)] == [
        [early.id], [suspect.id], [late.id],
    ]  # fmt: skip


async def test_two_crashes_alone_are_a_dead_letter(client: JobClient, consumer: JobConsumer) -> None:
    poison, mate = make_job(idempotency_key="k"), make_job()
    for job in (poison, mate):
        await client.submit(job)
    assert await _crash(consumer) == []
    assert await _crash(consumer) == []
    assert await _crash(consumer) == [poison.id]
    assert [claimed.job.id for claimed in consumer.claim(8)] == [mate.id]
    status = await client.status(poison.id)
    assert status.state is JobState.DEAD
    assert await client.wait(poison.id, 1) == JobFailure("worker_crashed", "SIGSEGV")
    [letter] = await client.dead()
    assert (letter.id, letter.reason, letter.message, letter.attempts) == (
        poison.id, "worker_crashed", "SIGSEGV", 3,
    )  # fmt: skip
    assert (await client.stats()).dead == 1


async def test_drains_and_lost_leases_do_not_count(
    client: JobClient, consumers: Callable[..., JobConsumer]
) -> None:
    job = make_job()
    await client.submit(job)
    worker = consumers(lease_s=0.05)
    await _crash(worker)
    for attempt in (2, 3, 4):
        worker.claim(1)
        worker.release({job.id: attempt})
    for _ in range(3):
        worker.claim(1)
        await asyncio.sleep(0.06)
        worker.reap()
    assert await _crash(worker) == []
    assert await _crash(worker) == [job.id]


async def test_supervisor_reports_for_a_dead_process(
    client: JobClient, consumers: Callable[..., JobConsumer]
) -> None:
    jobs = [make_job() for _ in range(2)]
    for job in jobs:
        await client.submit(job)
    dead, supervisor = consumers("dead"), consumers("supervisor")
    dead.claim(2)
    for _ in range(2):
        assert supervisor.report_worker_crash("dead", message="exit code -9") == []
    assert [(await client.status(job.id)).state for job in jobs] == [JobState.QUEUED] * 2
    assert supervisor.claim(8)[0].solo


async def test_suspect_that_waited_beside_others_is_not_charged(
    client: JobClient, consumer: JobConsumer
) -> None:
    suspect = make_job()
    await client.submit(suspect)
    await _crash(consumer)
    running = make_job(priority=-1)
    await client.submit(running)
    for _ in range(4):
        first, second = consumer.claim(8), consumer.claim(8)
        holds = {claimed.job.id: claimed.attempt for claimed in (*first, *second)}
        assert len(holds) == 2
        assert consumer.report_crash(holds) == []


async def test_repeated_crash_report_charges_once(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(job)
    await _crash(consumer)
    [claimed] = consumer.claim(1)
    for _ in range(3):
        assert consumer.report_crash({job.id: claimed.attempt}) == []
    assert (await client.status(job.id)).state is JobState.QUEUED


async def test_operator_gives_a_dead_letter_another_chance(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job = make_job(tenant="t", idempotency_key="k")
    await client.submit(job)
    for _ in range(3):
        await _crash(consumer)
    assert (await client.stats()).input_bytes == 0
    for _ in range(2):
        assert await client.retry(job.id) is JobState.QUEUED
    assert (await client.stats()).input_bytes > 0
    assert await client.dead() == []
    with server.client() as redis:
        for key in redis.scan_iter(f"{keys.prefix(queue)}*", count=1000):
            if job.id.encode() in key or b"idem:" in key:
                assert redis.ttl(key) == -1
    [claimed] = consumer.claim(8)
    assert claimed.solo
    assert claimed.job == job
    commit(consumer, claimed)
    assert (await client.status(job.id)).state is JobState.SUCCEEDED
    assert await client.retry(job.id) is JobState.SUCCEEDED
    with pytest.raises(JobNotFound):
        await client.retry("nobody")


async def test_operator_purges_dead_letters(client: JobClient, consumer: JobConsumer) -> None:
    job, kept = make_job(), make_job()
    await client.submit(job)
    for _ in range(3):
        await _crash(consumer)
    await client.submit(kept)
    assert await client.purge(older_than_s=60) == 0
    assert await client.purge() == 1
    with pytest.raises(JobNotFound):
        await client.status(job.id)
    assert (await client.status(kept.id)).state is JobState.QUEUED


async def test_operator_lists_jobs_by_state(client: JobClient, consumer: JobConsumer) -> None:
    jobs = [make_job() for _ in range(4)]
    for job in jobs:
        await client.submit(job)
    done, running = consumer.claim(2)
    commit(consumer, done)
    await client.cancel(jobs[3].id)
    for state, job in (
        (JobState.SUCCEEDED, done.job),
        (JobState.RUNNING, running.job),
        (JobState.QUEUED, jobs[2]),
        (JobState.CANCELLED, jobs[3]),
    ):
        assert [status.id for status in await client.list_jobs(state)] == [job.id]
    assert await client.list_jobs(JobState.FAILED) == []
