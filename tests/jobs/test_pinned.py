"""Pinned connections, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ResponseError

from jobs.redis import connection
from jobs.redis.pinned import PinnedConnections
from tests.support.redis_servers import RedisServer

TIMEOUT_S = 0.3
KEY = "a key"


@pytest.fixture
async def pinned(server: RedisServer) -> AsyncIterator[PinnedConnections]:
    client = connection.open_async(server.url, timeout_s=5.0)
    yield PinnedConnections(client, KEY, timeout_s=TIMEOUT_S)
    await connection.close_async(client)


async def ask(pinned: PinnedConnections, *command: str) -> Any:
    async with pinned.acquire() as wire:
        await wire.send_command(*command)
        return await wire.read_response()


async def number(pinned: PinnedConnections) -> int:
    """The server's number of the connection that is used next."""
    return await ask(pinned, "CLIENT", "ID")


async def test_a_connection_is_used_again(pinned: PinnedConnections) -> None:
    assert await number(pinned) == await number(pinned)


async def test_an_error_reply_leaves_it_open(pinned: PinnedConnections) -> None:
    first = await number(pinned)
    with pytest.raises(ResponseError):
        await ask(pinned, "GET")
    assert await number(pinned) == first


async def two(pinned: PinnedConnections) -> set[int]:
    """Numbers of the two connections that are used next."""
    async with pinned.acquire() as wire:
        await wire.send_command("CLIENT", "ID")
        return {await wire.read_response(), await number(pinned)}


async def test_a_timeout_closes_all_idle_connections(pinned: PinnedConnections) -> None:
    before = await two(pinned)
    assert await two(pinned) == before
    with pytest.raises(TimeoutError):
        await ask(pinned, "BLPOP", "an empty list", "0")
    assert not await two(pinned) & before


async def test_a_cancelled_exchange_leaves_no_reply_for_the_next(pinned: PinnedConnections) -> None:
    async with pinned.acquire():
        other = await number(pinned)
    first = await number(pinned)
    waiting = asyncio.create_task(ask(pinned, "BLPOP", "an empty list", "0"))
    await asyncio.sleep(TIMEOUT_S / 3)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert first != other
    assert await number(pinned) == other


async def test_a_closed_connection_is_replaced(pinned: PinnedConnections) -> None:
    first = await number(pinned)
    await pinned.close()
    assert await number(pinned) > first
