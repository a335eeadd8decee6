"""Buckets that all processes share: what they hold, how they refill, what they lend."""

import asyncio

import pytest

from jobs.client.client import JobClient
from jobs.contract.errors import QueueUnavailable
from jobs.redis import keys
from tests.support.redis_servers import RedisServer


async def test_bucket_gives_what_it_holds_and_then_says_how_long_to_wait(client: JobClient) -> None:
    first = await client.quotas.take("a", 60, 40)
    assert (first.wait_s, first.left) == (0, pytest.approx(20, abs=0.5))
    refused = await client.quotas.take("a", 60, 40)
    assert refused.wait_s == pytest.approx(20, abs=0.5)
    assert refused.left == pytest.approx(20, abs=0.5)  # nothing was taken
    assert (await client.quotas.take("b", 60, 60)).wait_s == 0


async def test_bucket_refills_evenly_and_never_runs_over(client: JobClient) -> None:
    await client.quotas.take("a", 6000, 6000)
    await asyncio.sleep(0.5)
    half_a_second_later = await client.quotas.take("a", 6000, 0)
    assert half_a_second_later.left >= 49
    assert half_a_second_later.left < 1000
    assert (await client.quotas.take("a", 6000, -10_000)).left == 6000


async def test_large_request_is_granted_by_a_full_bucket_and_leaves_a_debt(client: JobClient) -> None:
    lent = await client.quotas.take("a", 60, 90)
    assert (lent.wait_s, lent.left) == (0, -30)
    assert (await client.quotas.take("a", 60, 1)).wait_s == pytest.approx(31, abs=0.5)


async def test_concurrent_requests_get_no_more_than_the_bucket_holds(client: JobClient) -> None:
    taken = await asyncio.gather(*(client.quotas.take("a", 60, 1) for _ in range(100)))
    assert 60 <= sum(one.wait_s == 0 for one in taken) <= 62


async def test_full_bucket_is_forgotten(client: JobClient, server: RedisServer, queue: str) -> None:
    await client.quotas.take("a", 60, 30)
    with server.client() as redis:
        ttl_s = redis.ttl(f"{keys.prefix(queue)}quota:a")
    assert 30 <= ttl_s <= 32


async def test_unreachable_bucket_is_an_error_at_once() -> None:
    with RedisServer(appendonly="no") as own:
        client = await JobClient.connect(own.url)
        own.kill()
        with pytest.raises(QueueUnavailable):
            await client.quotas.take("a", 60, 1)
        await client.close()
