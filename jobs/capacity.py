"""Whether the queue has room, asked so cheaply that a flood costs next to nothing.

An answer stays good for a moment. Where there was plenty of room, the next few are let through without a
question. During a flood refusals are given from memory while one question at a time keeps them up to date,
and as many are let through as that question found places for. So refusals wait neither for the server's disk
nor for each other. What is let through is judged by `submit`, whole and at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from jobs.errors import IdempotencyConflict, QueueError, QueueFull, TenantQuotaExceeded

GOOD_FOR_S: Final = 0.5
_ASK_AGAIN_AFTER_S: Final = 0.1
_MAX_REMEMBERED: Final = 10_000
_PLENTY: Final = 64
"""Free places from which on nobody counts them."""

Ask = Callable[[str, int, int | None, str], Awaitable[list[bytes]]]
"""Tenant, bytes, its limit of jobs (None: the usual one), idempotency key → what capacity.lua says."""


@dataclass
class _Refusal:
    reply: list[bytes]
    num_bytes: int
    at_s: float
    places: int = 0
    """Found since, and not given away yet."""
    asking: asyncio.Task[None] | None = None


@dataclass
class _Room:
    num_bytes: int
    at_s: float
    places: int = _PLENTY


class Capacity:
    """What was answered to whom, for as long as that is good."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._refusals: dict[tuple[str, int | None], _Refusal] = {}
        self._rooms: dict[tuple[str, int | None], _Room] = {}

    async def check(self, tenant: str, num_bytes: int, max_jobs: int | None, idempotency_key: str) -> None:
        """Raises QueueFull or TenantQuotaExceeded, at most `GOOD_FOR_S` after it was true."""
        if idempotency_key:  # it may be known, and then needs no place
            raise_refusal(await self._ask(tenant, num_bytes, max_jobs, idempotency_key))
            return
        key = tenant, max_jobs
        now_s = asyncio.get_running_loop().time()
        known = self._refusals.get(key)
        if known is not None and num_bytes >= known.num_bytes:
            age_s = now_s - known.at_s
            if age_s < GOOD_FOR_S:
                if age_s > _ASK_AGAIN_AFTER_S and known.asking is None:
                    known.asking = asyncio.create_task(self._ask_again(key, known))
                if known.places == 0:
                    raise_refusal(known.reply)
                known.places -= 1
                return
        room = self._rooms.get(key)
        if (
            room is not None
            and room.places
            and num_bytes <= room.num_bytes
            and now_s - room.at_s < GOOD_FOR_S
        ):
            room.places -= 1
            return
        raise_refusal(await self._learn(key, num_bytes))

    async def close(self) -> None:
        asking = [refusal.asking for refusal in self._refusals.values() if refusal.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask_again(self, key: tuple[str, int | None], known: _Refusal) -> None:
        tenant, max_jobs = key
        try:
            reply = await self._ask(tenant, known.num_bytes, max_jobs, "")
        except QueueError:
            return  # it grows old, and then somebody waits for the answer
        finally:
            known.asking = None
        known.at_s = asyncio.get_running_loop().time()
        if reply[0] != b"ok":
            known.reply, known.places = reply, 0
        elif (places := int(reply[1])) < _PLENTY:
            known.places = places
        elif self._refusals.get(key) is known:
            del self._refusals[key]

    async def _learn(self, key: tuple[str, int | None], num_bytes: int) -> list[bytes]:
        tenant, max_jobs = key
        reply = await self._ask(tenant, num_bytes, max_jobs, "")
        now_s = asyncio.get_running_loop().time()
        if len(self._refusals) + len(self._rooms) >= _MAX_REMEMBERED:
            self._refusals.clear()
            self._rooms.clear()
        self._refusals.pop(key, None)
        self._rooms.pop(key, None)
        if reply[0] != b"ok":
            self._refusals[key] = _Refusal(reply, num_bytes, now_s)
        elif int(reply[1]) >= _PLENTY:
            self._rooms[key] = _Room(num_bytes, now_s)
        return reply


def raise_refusal(reply: list[bytes]) -> None:
    """What submit.lua and capacity.lua answer, as an error unless it is `ok`."""
    answer = reply[0]
    if answer == b"tenant":
        raise TenantQuotaExceeded("this client has too many jobs waiting", int(reply[1]))
    if answer == b"full":
        raise QueueFull("the queue is full", int(reply[1]))
    if answer == b"conflict":
        raise IdempotencyConflict("this idempotency key was used for another request")
