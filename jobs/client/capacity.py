"""Caches admission decisions for half a second, so that a flood of requests costs Redis almost nothing.

While the queue is full, requests are refused from the cache, and one background query every 0.1 s refreshes
the number of free places. While there is plenty of room, the next 64 requests pass without a query. `submit`
makes the final decision.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from jobs.contract.errors import IdempotencyConflict, QueueError, QueueFull, TenantQuotaExceeded

GOOD_FOR_S: Final = 0.5
_REFRESH_AFTER_S: Final = 0.1
_MAX_TENANTS: Final = 10_000
_PLENTY: Final = 64
"""Free places from which on the next requests are not counted."""

Query = Callable[[str, int, str], Awaitable[list[bytes]]]
"""Tenant, bytes, idempotency key → the reply of the script `capacity`."""


@dataclass
class _Refusal:
    reply: list[bytes]
    num_bytes: int
    at_s: float
    places: int = 0
    """Free places that a refresh found and no request has taken yet."""
    refreshing: asyncio.Task[None] | None = None


@dataclass
class _Room:
    num_bytes: int
    at_s: float
    places: int = _PLENTY


class Capacity:
    """The latest admission decision of each tenant."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._refusals: dict[str, _Refusal] = {}
        self._rooms: dict[str, _Room] = {}

    async def check(self, tenant: str, num_bytes: int, idempotency_key: str) -> None:
        """Raise QueueFull or TenantQuotaExceeded if the queue refuses such a job, or did 0.5 s ago."""
        if idempotency_key:  # a known key needs no place, and only Redis knows the keys
            raise_refusal(await self._query(tenant, num_bytes, idempotency_key))
            return
        now_s = asyncio.get_running_loop().time()
        refusal = self._refusals.get(tenant)
        if refusal is not None and num_bytes >= refusal.num_bytes:
            age_s = now_s - refusal.at_s
            if age_s < GOOD_FOR_S:
                if age_s > _REFRESH_AFTER_S and refusal.refreshing is None:
                    refusal.refreshing = asyncio.create_task(self._refresh(tenant, refusal))
                if refusal.places == 0:
                    raise_refusal(refusal.reply)
                refusal.places -= 1
                return
        room = self._rooms.get(tenant)
        if (
            room is not None
            and room.places
            and num_bytes <= room.num_bytes
            and now_s - room.at_s < GOOD_FOR_S
        ):
            room.places -= 1
            return
        raise_refusal(await self._query_and_store(tenant, num_bytes))

    async def close(self) -> None:
        refreshing = [
            refusal.refreshing for refusal in self._refusals.values() if refusal.refreshing is not None
        ]
        for task in refreshing:
            task.cancel()
        await asyncio.gather(*refreshing, return_exceptions=True)

    async def _refresh(self, tenant: str, refusal: _Refusal) -> None:
        try:
            reply = await self._query(tenant, refusal.num_bytes, "")
        except QueueError:
            return  # the entry expires, and the next request queries Redis
        finally:
            refusal.refreshing = None
        refusal.at_s = asyncio.get_running_loop().time()
        if reply[0] != b"ok":
            refusal.reply, refusal.places = reply, 0
        elif (places := int(reply[1])) < _PLENTY:
            refusal.places = places
        elif self._refusals.get(tenant) is refusal:
            del self._refusals[tenant]

    async def _query_and_store(self, tenant: str, num_bytes: int) -> list[bytes]:
        reply = await self._query(tenant, num_bytes, "")
        now_s = asyncio.get_running_loop().time()
        if len(self._refusals) + len(self._rooms) >= _MAX_TENANTS:
            self._refusals.clear()
            self._rooms.clear()
        self._refusals.pop(tenant, None)
        self._rooms.pop(tenant, None)
        if reply[0] != b"ok":
            self._refusals[tenant] = _Refusal(reply, num_bytes, now_s)
        elif int(reply[1]) >= _PLENTY:
            self._rooms[tenant] = _Room(num_bytes, now_s)
        return reply


def raise_refusal(reply: list[bytes]) -> None:
    """Raise the error that a reply of `submit` or `capacity` means; return for `ok`."""
    answer = reply[0]
    if answer == b"tenant":
        raise TenantQuotaExceeded(
            "This client has too many jobs in the queue. Wait until one of them is finished.", int(reply[1])
        )
    if answer == b"full":
        raise QueueFull("The queue is full. Try again later.", int(reply[1]))
    if answer == b"conflict":
        raise IdempotencyConflict(
            "This idempotency key was used for another request. Use a new key for a new request."
        )
