"""Leases: kept by renewing, lost by silence, given back in order, and patient after a restart."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from jobs.client.client import JobClient
from jobs.contract.events import Progress
from jobs.contract.job import JobState
from jobs.redis import keys
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import CommitReply
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job

Consumers = Callable[..., JobConsumer]
Clients = Callable[..., Coroutine[Any, Any, JobClient]]


async def test_renewed_job_stays_with_its_worker(client: JobClient, consumers: Consumers) -> None:
    job = make_job()
    await client.submit(job)
    consumer, other = consumers(lease_s=1.0), consumers(lease_s=1.0)
    consumer.claim(1)
    for _ in range(4):
        await asyncio.sleep(0.4)
        assert consumer.renew({job.id: 1}).lost == frozenset()
        assert other.reap() == 0
    assert (await client.status(job.id)).attempt == 1


async def test_silent_job_is_taken_back_and_its_place_is_the_old_one(
    client: JobClient, consumers: Consumers
) -> None:
    first, second = make_job(), make_job()
    for job in (first, second):
        await client.submit(job)
    silent, other = consumers(lease_s=0.1), consumers(lease_s=0.1)
    silent.claim(1)
    await asyncio.sleep(0.15)
    assert other.reap() == 1
    assert other.reap() == 0
    assert [claimed.job.id for claimed in other.claim(2)] == [first.id, second.id]


async def test_lost_lease_is_named_by_renew(client: JobClient, consumers: Consumers) -> None:
    kept, lost = make_job(), make_job()
    for job in (kept, lost):
        await client.submit(job)
    consumer, other = consumers(lease_s=0.1), consumers()
    consumer.claim(2)
    await asyncio.sleep(0.15)
    consumer.lease_s = 15.0
    consumer.renew({kept.id: 1})
    assert other.reap() == 1
    other.claim(1)
    reply = consumer.renew({kept.id: 1, lost.id: 1, "unheard of": 1})
    assert reply.lost == {lost.id, "unheard of"}
    assert reply.cancelled == frozenset()


async def test_expired_lease_may_be_renewed_while_no_worker_took_the_job(
    client: JobClient, consumers: Consumers
) -> None:
    job = make_job()
    await client.submit(job)
    consumer = consumers(lease_s=0.1)
    consumer.claim(1)
    await asyncio.sleep(0.15)
    assert consumer.renew({job.id: 1}).lost == frozenset()
    assert consumer.reap() == 0


async def test_job_committed_a_moment_ago_is_not_called_lost(
    client: JobClient, consumer: JobConsumer
) -> None:
    job = make_job()
    await client.submit(job)
    commit(consumer, consumer.claim(1)[0])
    reply = consumer.renew({job.id: 1})
    assert not reply.lost
    assert not reply.cancelled


async def test_reaping_is_bounded(client: JobClient, consumers: Consumers) -> None:
    await asyncio.gather(*(client.submit(make_job()) for _ in range(130)))
    silent, other = consumers(lease_s=1.0), consumers(lease_s=1.0)
    silent.claim(130)
    await asyncio.sleep(1.1)
    assert [other.reap() for _ in range(3)] == [100, 30, 0]


async def test_cancelled_running_job_leaves_at_the_next_renewal(
    client: JobClient, consumer: JobConsumer
) -> None:
    job = make_job()
    await client.submit(job)
    consumer.claim(1)
    assert await client.cancel(job.id) is JobState.RUNNING
    assert (await client.status(job.id)).cancel_requested
    for _ in range(2):  # the first answer may get lost
        assert consumer.renew({job.id: 1}).cancelled == {job.id}
    assert (await client.status(job.id)).state is JobState.CANCELLED
    assert (await client.stats()).totals == {"cancelled": 1}


async def test_cancelled_queued_job_ends_at_once(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(job)
    for _ in range(2):
        assert await client.cancel(job.id) is JobState.CANCELLED
    assert consumer.claim(1) == []
    assert (await client.stats()).totals == {"cancelled": 1}


async def test_cancelled_job_whose_worker_vanished_is_not_run_again(
    client: JobClient, consumers: Consumers
) -> None:
    job = make_job()
    await client.submit(job)
    silent, other = consumers(lease_s=0.1), consumers(lease_s=0.1)
    silent.claim(1)
    await client.cancel(job.id)
    await asyncio.sleep(0.15)
    other.reap()
    assert (await client.status(job.id)).state is JobState.CANCELLED
    assert other.claim(1) == []


async def test_running_job_past_its_deadline_leaves_the_batch(
    client: JobClient, consumer: JobConsumer
) -> None:
    job = make_job(deadline_s=0.1)
    await client.submit(job)
    consumer.claim(1)
    await asyncio.sleep(0.15)
    consumer.reap()
    assert consumer.renew({job.id: 1}).cancelled == {job.id}
    assert (await client.status(job.id)).state is JobState.EXPIRED


async def test_released_jobs_go_back_to_their_place_uncharged(
    client: JobClient, consumers: Consumers
) -> None:
    jobs = [make_job() for _ in range(3)]
    for job in jobs:
        await client.submit(job)
    draining, other = consumers(), consumers()
    draining.claim(2)
    for released in (2, 0):
        assert draining.release({jobs[0].id: 1, jobs[1].id: 1}) == released
    claims = other.claim(3)
    assert [claimed.job.id for claimed in claims] == [job.id for job in jobs]
    assert not any(claimed.solo for claimed in claims)
    assert draining.release({jobs[0].id: 1}) == 0


async def test_leases_rest_for_one_lease_after_a_restart(
    server: RedisServer, clients: Clients, consumers: Consumers
) -> None:
    rest_s = 1.5
    # With "everysec" a slow disk delays writes, and the kill would take back the claims.
    with RedisServer(binary=server.binary, appendfsync="always") as own:
        client = await clients(url=own.url, lease_s=rest_s)
        kept, lost = make_job(), make_job()
        for job in (kept, lost):
            await client.submit(job)
        worker, other = consumers(url=own.url, lease_s=0.3), consumers(url=own.url, lease_s=rest_s)
        other.reap()
        worker.claim(2)
        own.kill()
        await asyncio.sleep(0.4)
        own.start()
        returned_at = asyncio.get_running_loop().time()
        assert other.reap() == 0
        worker.lease_s = 30.0
        assert worker.renew({kept.id: 1}).lost == frozenset()
        while (await client.status(lost.id)).state is JobState.RUNNING:
            other.reap()
            await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - returned_at >= rest_s - 0.1
        assert (await client.status(kept.id)).state is JobState.RUNNING


async def test_job_that_keeps_losing_its_worker_is_run_alone_but_never_given_up(
    client: JobClient, consumers: Consumers
) -> None:
    job = make_job()
    await client.submit(job)
    consumer = consumers(lease_s=0.05)
    solo: list[bool] = []
    for _ in range(8):
        [claimed] = consumer.claim(1)
        solo.append(claimed.solo)
        await asyncio.sleep(0.06)
        consumer.reap()
    assert solo == [False] * 5 + [True] * 3


async def test_events_of_an_attempt_that_no_longer_holds_are_dropped(
    client: JobClient, consumers: Consumers, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    late, present = consumers(lease_s=15), consumers(lease_s=15)
    late.claim(1)
    late.release({job.id: 1})
    late.publish(job.id, 1, Progress("decode", 1, 9))
    present.claim(1)
    late.publish(job.id, 1, Progress("decode", 2, 9))
    present.publish(job.id, 2, Progress("decode", 3, 9))
    late.close()
    present.close()
    with server.client() as redis:
        told = [fields for _, fields in redis.xrange(keys.events(queue)) if b"b" in fields]
    assert [fields[b"a"] for fields in told] == [b"2"]
    assert (await client.status(job.id)).progress == Progress("decode", 3, 9)


@pytest.mark.parametrize("lost", [True, False])
async def test_late_commit_is_rescued_unless_another_has_the_job(
    client: JobClient, consumers: Consumers, lost: bool
) -> None:
    job = make_job()
    await client.submit(job)
    slow, other = consumers(lease_s=0.1), consumers(lease_s=15)
    [claimed] = slow.claim(1)
    await asyncio.sleep(0.15)
    slow.reap()
    if lost:
        assert other.claim(1)[0].attempt == 2
    reply = commit(slow, claimed)
    assert reply is (CommitReply.FENCED if lost else CommitReply.ACCEPTED)
    assert (await client.status(job.id)).state is (JobState.RUNNING if lost else JobState.SUCCEEDED)
    assert len(other.claim(1)) == 0
