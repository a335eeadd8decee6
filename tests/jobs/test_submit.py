"""Submission: whole or not at all, once for each key, within the limits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis import Redis

from jobs.client.capacity import GOOD_FOR_S
from jobs.client.client import JobClient
from jobs.contract.errors import IdempotencyConflict, QueueFull, QueueUnavailable, TenantQuotaExceeded
from jobs.contract.job import JobState
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer, free_port
from tests.support.sample_jobs import commit, make_job, make_worker

Clients = Callable[..., Coroutine[Any, Any, JobClient]]


async def test_repeated_submission_is_one_job(client: JobClient) -> None:
    job = make_job()
    assert await client.submit(job) == await client.submit(job)
    assert (await client.stats()).waiting == 1


async def test_one_key_is_one_job(client: JobClient, consumer: JobConsumer) -> None:
    first = make_job(idempotency_key="k")
    again = make_job(idempotency_key="k")
    assert (await client.submit(first)).created
    for _ in range(2):
        replay = await client.submit(again)
        assert (replay.id, replay.created) == (first.id, False)
        if claimed := consumer.claim(5):
            commit(consumer, claimed[0])
    assert (await client.stats()).totals == {"succeeded": 1}


async def test_key_of_another_tenant_is_another_key(client: JobClient) -> None:
    await client.submit(make_job(idempotency_key="k", tenant="a"))
    assert (await client.submit(make_job(idempotency_key="k", tenant="b"))).created


async def test_key_with_another_request_is_a_conflict(client: JobClient) -> None:
    await client.submit(make_job("один", idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        await client.submit(make_job("два", idempotency_key="k"))
    assert (await client.stats()).waiting == 1


async def test_a_retry_is_recognised_by_the_digest_of_the_client_s_request(client: JobClient) -> None:
    first = make_job(seed=1, idempotency_key="k", digest="what the client sent")
    again = make_job(seed=2, idempotency_key="k", digest="what the client sent")
    await client.submit(first)
    assert (await client.submit(again)).id == first.id


async def test_concurrent_submissions_of_one_key_are_one_job(client: JobClient) -> None:
    jobs = [make_job(idempotency_key="k") for _ in range(20)]
    answers = await asyncio.gather(*(client.submit(job) for job in jobs))
    assert len({answer.id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1


async def test_full_queue_refuses_and_takes_again(clients: Clients, consumer: JobConsumer) -> None:
    client = await clients(max_depth=2)
    for _ in range(2):
        await client.submit(make_job())
    with pytest.raises(QueueFull):
        await client.check_capacity("default", 1)
    refused = make_job()
    with pytest.raises(QueueFull):
        await client.submit(refused)
    assert (await client.stats()).waiting == 2
    commit(consumer, consumer.claim(1)[0])
    assert (await client.submit(refused)).created


async def test_full_queue_lets_a_known_key_through_and_no_new_one(clients: Clients) -> None:
    client = await clients(max_depth=1)
    await client.submit(make_job(idempotency_key="known"))
    await client.check_capacity("default", 1, key="known")
    for tenant, key in (("default", "new"), ("other", "known"), ("default", None)):
        with pytest.raises(QueueFull):
            await client.check_capacity(tenant, 1, key=key)


async def test_refusal_is_given_from_memory_and_forgotten_soon(
    clients: Clients, consumer: JobConsumer, server: RedisServer
) -> None:
    client = await clients(max_bytes=2000)
    await client.check_capacity("default", 100)
    await client.submit(make_job("а" * 700))
    with server.client() as redis:
        calls_before = _num_scripts(redis)
        for _ in range(200):
            with pytest.raises(QueueFull):
                await client.check_capacity("default", 1000)
        assert _num_scripts(redis) - calls_before < 20
        await client.check_capacity("default", 100)  # what is smaller may fit
        commit(consumer, consumer.claim(1)[0])
        await asyncio.sleep(GOOD_FOR_S)
        await client.check_capacity("default", 1000)


async def test_plenty_of_room_is_asked_for_once(clients: Clients, server: RedisServer) -> None:
    client = await clients(max_depth=100)
    with server.client() as redis:
        calls_before = _num_scripts(redis)
        for _ in range(60):
            await client.check_capacity("default", 10)
        assert _num_scripts(redis) - calls_before < 10
        await client.check_capacity("default", 10_000)  # what is larger may not fit
    for _ in range(80):
        await client.submit(make_job())
    await asyncio.sleep(GOOD_FOR_S)
    await client.check_capacity("default", 10)
    for _ in range(10):
        await client.submit(make_job(tenant="other"))
    with pytest.raises(TenantQuotaExceeded):  # few places are counted, and never remembered
        await client.check_capacity("default", 10)


async def test_refusal_is_kept_up_to_date_while_many_ask(clients: Clients, consumer: JobConsumer) -> None:
    client = await clients(max_depth=2)
    for _ in range(2):
        await client.submit(make_job())

    async def is_refused() -> bool:
        try:
            await client.check_capacity("default", 1)
        except QueueFull:
            return True
        return False

    assert await is_refused()
    consumer.claim(1)
    freed_at = asyncio.get_running_loop().time()
    while await is_refused():
        await asyncio.sleep(0.005)
    assert asyncio.get_running_loop().time() - freed_at < GOOD_FOR_S


async def test_freed_places_are_not_promised_to_all_who_ask(clients: Clients, consumer: JobConsumer) -> None:
    client = await clients(max_depth=30, tenant_max_jobs=1000)
    for _ in range(27):
        await client.submit(make_job())
    with pytest.raises(QueueFull):
        await client.check_capacity("default", 1)
    consumer.claim(2)
    let_through = 0
    async with asyncio.timeout(GOOD_FOR_S):
        while not let_through:
            await asyncio.sleep(0.005)
            answers = await asyncio.gather(
                *(client.check_capacity("default", 1) for _ in range(50)), return_exceptions=True
            )
            let_through = sum(answer is None for answer in answers)
    assert let_through == 2


def _num_scripts(redis: Redis) -> int:
    return sum(calls["calls"] for name, calls in redis.info("commandstats").items() if "eval" in name)


async def test_bytes_are_limited_and_given_back(clients: Clients, consumer: JobConsumer) -> None:
    client = await clients(max_bytes=2000)
    await client.submit(make_job("а" * 700))
    with pytest.raises(QueueFull):
        await client.submit(make_job("а" * 700))
    commit(consumer, consumer.claim(1)[0])
    assert (await client.stats()).input_bytes == 0
    await client.submit(make_job("а" * 700))


async def test_tenant_is_limited_without_hurting_others(clients: Clients, consumer: JobConsumer) -> None:
    client = await clients(tenant_max_jobs=2, tenant_max_bytes=100_000)
    for _ in range(2):
        await client.submit(make_job(tenant="greedy"))
    with pytest.raises(TenantQuotaExceeded):
        await client.submit(make_job(tenant="greedy"))
    with pytest.raises(TenantQuotaExceeded):
        await client.submit(make_job("а" * 100_000, tenant="modest"))
    await client.submit(make_job(tenant="modest"))
    assert len(consumer.claim(5)) == 3
    with pytest.raises(TenantQuotaExceeded):  # running jobs count, too
        await client.submit(make_job(tenant="greedy"))


async def test_retry_after_is_depth_times_service_time_over_workers(
    clients: Clients, consumer: JobConsumer, consumers: Callable[..., JobConsumer]
) -> None:
    client = await clients(max_depth=44)
    await client.submit(make_job())
    [claimed] = consumer.claim(1)
    await asyncio.sleep(0.5)
    commit(consumer, claimed)
    for _ in range(40):
        await client.submit(make_job())
    service_s = (await client.stats()).mean_service_s
    assert service_s == pytest.approx(0.5, abs=0.2)
    for workers, low, high in ((1, 14, 28), (2, 7, 14)):
        consumers(f"w{workers}").heartbeat(make_worker(f"w{workers}"), ttl_s=5)
        with pytest.raises(QueueFull) as refusal:
            await client.submit(make_job())
        assert low <= refusal.value.retry_after_s <= high


async def test_retry_after_stays_within_two_minutes(clients: Clients) -> None:
    client = await clients(max_depth=1000)
    await asyncio.gather(*(client.submit(make_job()) for _ in range(900)))
    with pytest.raises(QueueFull) as refusal:
        await client.submit(make_job())
    assert refusal.value.retry_after_s == 120


async def test_flood_of_one_tenant_leaves_room_for_others(clients: Clients) -> None:
    client = await clients(max_depth=50)
    await client.submit(make_job(tenant="modest"))
    answers = await asyncio.gather(
        *(client.submit(make_job(tenant="greedy")) for _ in range(60)), return_exceptions=True
    )
    assert sum(isinstance(answer, TenantQuotaExceeded) for answer in answers) == 60 - 44
    for _ in range(4):
        await client.submit(make_job(tenant="modest"))
    assert (await client.stats()).waiting == 49


async def test_interrupted_synchronous_submission_leaves_no_work(
    client: JobClient, consumer: JobConsumer
) -> None:
    waiting, walking = make_job(), make_job(synchronous=False)
    for job in (waiting, walking):
        task = asyncio.create_task(client.submit(job))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.3)
    assert (await client.status(waiting.id)).state is JobState.CANCELLED
    assert (await client.status(walking.id)).state is JobState.QUEUED


async def test_unreachable_server_is_unavailable() -> None:
    with pytest.raises(QueueUnavailable):
        await JobClient.connect(f"redis://127.0.0.1:{free_port()}/0")


async def test_full_server_refuses_whole_and_lets_running_jobs_end(
    server: RedisServer, queue: str, consumers: Callable[..., JobConsumer]
) -> None:
    with RedisServer(binary=server.binary) as small:
        client = await JobClient.connect(small.url, queue=queue)
        consumer = consumers(url=small.url)
        running, queued, dropped = make_job(), make_job(), make_job()
        for job in (running, dropped, queued):
            await client.submit(job)
        first, second = consumer.claim(2)
        with small.client() as redis:
            before = set(redis.scan_iter(count=1000))
            redis.config_set("maxmemory", 1)
        refused = make_job()
        with pytest.raises(QueueFull):
            await client.submit(refused)
        with small.client() as redis:
            assert set(redis.scan_iter(count=1000)) - before <= {f"{{{queue}}}:boot".encode()}
        assert (await client.stats()).waiting == 1
        assert commit(consumer, first).value == "accepted"
        consumer.renew({second.job.id: second.attempt})
        await client.cancel(dropped.id)
        assert consumer.renew({second.job.id: second.attempt}).cancelled == {dropped.id}
        [third] = consumer.claim(2)
        consumer.heartbeat(make_worker("w"))
        assert consumer.release({third.job.id: third.attempt}) == 1
        [third] = consumer.claim(2)
        consumer.report_crash({third.job.id: third.attempt})
        [third] = consumer.claim(2)
        assert consumer.reap() == 0
        assert commit(consumer, third).value == "accepted"
        assert (await client.stats()).totals == {"succeeded": 2, "cancelled": 1}
        await client.close()
