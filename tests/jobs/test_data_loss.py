"""Redis is reachable but has lost its data: every call fails until an operator accepts the loss."""

import asyncio
import uuid
from collections.abc import Callable

import pytest

from jobs.client.client import JobClient
from jobs.contract.errors import DataLost, QueueUnavailable
from jobs.redis import keys
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job


async def _lose_data(server: RedisServer, queue: str) -> None:
    """As FLUSHALL, for one queue of the shared server."""
    with server.client() as redis:
        for key in redis.scan_iter(f"{keys.prefix(queue)}*", count=1000):
            redis.delete(key)


async def test_lost_data_make_the_queue_unavailable(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    [claimed] = consumer.claim(1)
    await client.ping()
    await _lose_data(server, queue)
    for call in (client.ping(), client.submit(make_job()), client.status(job.id), client.outcome(job.id)):
        with pytest.raises(DataLost):
            await call
    with pytest.raises(DataLost):
        commit(consumer, claimed)
    with pytest.raises(DataLost):
        consumer.claim(1)


async def test_waiting_clients_get_data_lost(client: JobClient, server: RedisServer, queue: str) -> None:
    job = make_job()
    await client.submit(job)
    waiting = asyncio.create_task(client.wait(job.id, 10))

    async def follow() -> None:
        async for _ in client.events(job.id):
            pass

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.2)
    await _lose_data(server, queue)
    for task in (waiting, following):
        with pytest.raises(DataLost):
            await asyncio.wait_for(task, 3)


async def test_emptied_server_is_not_taken_for_a_new_one(
    client: JobClient, server: RedisServer, queue: str
) -> None:
    await client.submit(make_job())
    await _lose_data(server, queue)
    with pytest.raises(DataLost):
        await client.ping()  # a process that knew the data leaves a mark
    with pytest.raises(DataLost):
        await JobClient.connect(server.url, queue=queue)


async def test_partly_emptied_server_is_not_taken_for_a_new_one(
    client: JobClient, server: RedisServer, queue: str
) -> None:
    await client.submit(make_job())
    with server.client() as redis:
        redis.delete(keys.epoch(queue))
    with pytest.raises(DataLost):
        await JobClient.connect(server.url, queue=queue)


async def test_operator_may_accept_the_loss_and_everybody_goes_on(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    consumer.claim(1)
    await _lose_data(server, queue)
    with pytest.raises(DataLost):
        await client.ping()
    operator = await JobClient.connect(server.url, queue=queue, accept_data_loss=True)
    await operator.close()
    await client.ping()
    job = make_job()
    await client.submit(job)
    assert [claimed.job.id for claimed in consumer.claim(1)] == [job.id]


async def test_data_of_somebody_else_are_not_ours(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    consumer.claim(1)
    with server.client() as redis:
        redis.set(keys.epoch(queue), uuid.uuid4().hex)
    with pytest.raises(DataLost):
        await client.submit(make_job())
    with pytest.raises(DataLost):
        consumer.claim(1)


async def test_accepting_a_loss_that_is_none_changes_nothing(
    client: JobClient, server: RedisServer, queue: str
) -> None:
    job = make_job()
    await client.submit(job)
    operator = await JobClient.connect(server.url, queue=queue, accept_data_loss=True)
    assert (await operator.status(job.id)).id == job.id
    await operator.close()
    await client.ping()


async def test_two_apis_that_start_together_share_one_queue(server: RedisServer, queue: str) -> None:
    clients = await asyncio.gather(*(JobClient.connect(server.url, queue=queue) for _ in range(5)))
    job = make_job()
    await clients[0].submit(job)
    for client in clients:
        assert (await client.status(job.id)).id == job.id
        await client.close()


async def test_ping_says_so_within_two_seconds_when_the_server_hangs(
    server: RedisServer, queue: str, consumers: Callable[..., JobConsumer]
) -> None:
    with RedisServer(binary=server.binary) as own:
        client = await JobClient.connect(own.url, queue=queue)
        own.freeze()
        started = asyncio.get_running_loop().time()
        with pytest.raises(QueueUnavailable):
            await client.ping()
        assert asyncio.get_running_loop().time() - started < 2
        own.thaw()
        await client.ping()
        await client.close()
