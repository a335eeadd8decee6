"""Connections that stay at hand from one command to the next, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ResponseError

from jobs import connection
from jobs.connection import Wires
from tests.jobs.servers import RedisServer

TIMEOUT_S = 0.3
KEY = "a key"


@pytest.fixture
async def wires(server: RedisServer) -> AsyncIterator[Wires]:
    client = connection.open_async(server.url, timeout_s=5.0)
    yield Wires(client, KEY, timeout_s=TIMEOUT_S)
    await connection.close_async(client)


async def ask(wires: Wires, *command: str) -> Any:
    async with wires.borrow() as wire:
        await wire.send_command(*command)
        return await wire.read_response()


async def number(wires: Wires) -> int:
    """The server's number of the connection that is used next."""
    return await ask(wires, "CLIENT", "ID")


async def test_a_connection_is_used_again(wires: Wires) -> None:
    assert await number(wires) == await number(wires)


async def test_an_error_reply_leaves_it_open(wires: Wires) -> None:
    first = await number(wires)
    with pytest.raises(ResponseError):
        await ask(wires, "GET")
    assert await number(wires) == first


async def two(wires: Wires) -> set[int]:
    """Numbers of the two connections that are used next."""
    async with wires.borrow() as wire:
        await wire.send_command("CLIENT", "ID")
        return {await wire.read_response(), await number(wires)}


async def test_what_takes_too_long_closes_all_that_are_at_hand(wires: Wires) -> None:
    before = await two(wires)
    assert await two(wires) == before
    with pytest.raises(TimeoutError):
        await ask(wires, "BLPOP", "an empty list", "0")
    assert not await two(wires) & before


async def test_a_cancelled_exchange_leaves_no_reply_for_the_next(wires: Wires) -> None:
    async with wires.borrow():
        other = await number(wires)
    first = await number(wires)
    waiting = asyncio.create_task(ask(wires, "BLPOP", "an empty list", "0"))
    await asyncio.sleep(TIMEOUT_S / 3)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert first != other
    assert await number(wires) == other


async def test_a_closed_connection_is_made_anew(wires: Wires) -> None:
    first = await number(wires)
    await wires.close()
    assert await number(wires) > first
