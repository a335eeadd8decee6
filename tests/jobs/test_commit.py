"""Commits: exactly one result ever becomes visible, and it does not change."""

import asyncio
import threading
from collections.abc import Callable

from jobs.client.client import JobClient
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure
from jobs.redis import keys
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import CommitReply
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job, make_result


async def test_repeated_commit_is_accepted_and_changes_nothing(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    [claimed] = consumer.claim(1)
    with server.client() as redis:
        assert commit(consumer, claimed) is CommitReply.ACCEPTED
        first = redis.get(keys.result(queue, job.id))
        finished = (await client.status(job.id)).timings.finished_s
        assert commit(consumer, claimed) is CommitReply.ACCEPTED
        assert redis.get(keys.result(queue, job.id)) == first
    assert (await client.status(job.id)).timings.finished_s == finished
    assert (await client.stats()).totals == {"succeeded": 1}


async def test_other_result_of_the_same_attempt_is_fenced(client: JobClient, consumer: JobConsumer) -> None:
    job = make_job()
    await client.submit(job)
    [claimed] = consumer.claim(1)
    assert commit(consumer, claimed, "первый") is CommitReply.ACCEPTED
    assert commit(consumer, claimed, "второй") is CommitReply.FENCED
    assert await client.outcome(job.id) == make_result("первый")


async def test_commit_of_a_cancelled_or_unknown_job_is_fenced(
    client: JobClient, consumer: JobConsumer
) -> None:
    job = make_job()
    await client.submit(job)
    [claimed] = consumer.claim(1)
    await client.cancel(job.id)
    consumer.renew({job.id: 1})
    assert commit(consumer, claimed) is CommitReply.FENCED
    assert isinstance(await client.outcome(job.id), JobFailure)
    assert consumer.commit("nobody", 1, make_result(), compute_s=0, model="m") is CommitReply.FENCED


async def test_commit_of_a_job_that_was_never_claimed_is_fenced(
    client: JobClient, consumer: JobConsumer
) -> None:
    job = make_job()
    await client.submit(job)
    assert consumer.commit(job.id, 0, make_result(), compute_s=0, model="m") is CommitReply.FENCED
    assert (await client.status(job.id)).state is JobState.QUEUED


async def test_of_many_racing_commits_one_result_wins(
    client: JobClient, consumers: Callable[..., JobConsumer]
) -> None:
    job = make_job()
    await client.submit(job)
    workers = [consumers(lease_s=0.02) for _ in range(4)]
    claims = []
    for worker in workers:
        claims += [(worker, claimed) for claimed in worker.claim(1)]
        await asyncio.sleep(0.03)
        worker.reap()
    replies: list[CommitReply] = []
    threads = [
        threading.Thread(target=lambda w=w, c=c: replies.append(commit(w, c, f"попытка {c.attempt}")))
        for w, c in claims
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert replies.count(CommitReply.ACCEPTED) == 1
    assert await client.outcome(job.id) == make_result("попытка 4")


async def test_input_goes_and_result_stays_for_its_time(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    for synchronous, ttl_s in ((True, 300), (False, 3600)):
        job = make_job(synchronous=synchronous, idempotency_key=f"k{ttl_s}")
        await client.submit(job)
        prefix = keys.prefix(queue)
        names = [
            f"{prefix}job:{job.id}",
            prefix + keys.idempotency_suffix(job.tenant, f"k{ttl_s}"),
        ]
        with server.client() as redis:
            assert [redis.ttl(name) for name in (*names, f"{prefix}in:{job.id}")] == [-1] * 3
            commit(consumer, consumer.claim(1)[0])
            for name in (*names, keys.result(queue, job.id)):
                assert ttl_s - 2 <= redis.ttl(name) <= ttl_s  # type: ignore[operator]
            assert not redis.exists(f"{prefix}in:{job.id}")


async def test_nothing_is_left_of_a_job_when_its_time_is_over(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    commit(consumer, consumer.claim(1)[0])
    with server.client() as redis:
        for key in redis.scan_iter(f"{keys.prefix(queue)}*{job.id}*", count=1000):
            assert redis.ttl(key) > 0  # type: ignore[operator]
        for name in ("ready", "leases", "deadlines", "dead"):
            assert redis.zscore(f"{keys.prefix(queue)}{name}", job.id) is None
        assert redis.hgetall(f"{keys.prefix(queue)}held:{consumer.worker_id}") == {}


async def test_service_time_counts_a_batch_as_a_batch(client: JobClient, consumer: JobConsumer) -> None:
    for _ in range(30):
        await asyncio.gather(*(client.submit(make_job()) for _ in range(4)))
        batch = consumer.claim(4)
        await asyncio.sleep(0.02)
        for claimed in batch:
            commit(consumer, claimed)
    assert (await client.stats()).mean_service_s < 0.02
