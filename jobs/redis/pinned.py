"""Pinned connections: the connection that was used last is used again as it is.

redis-py's pool checks the health of a connection for every command, and its connections set a timeout for
every write and read. Both cost more than the command. Here one timeout covers a whole exchange.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio.client import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError, ResponseError

from jobs.redis.connection import AsyncClient
from jobs.redis.redis_errors import ErrorClass, classify_error


class PinnedConnections:
    """Connections to the server that owns a key."""

    def __init__(self, client: AsyncClient, key: str, *, timeout_s: float | None = None) -> None:
        """`timeout_s` limits one use of a connection; None: the client's own timeouts for each read apply."""
        self._client = client
        self._key = key
        self._timeout_s = timeout_s
        self._idle: list[_PinnedConnection] = []
        self._primary: tuple[str, int] | None = None
        """The server of all connections that are used from now on; None without Sentinels."""

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[Any]:
        """Yield a connected connection, for commands that must follow each other.

        A broken connection is closed, because a reply may still be under way on it. All idle connections are
        closed with it, because their server may no longer be the master. An error reply does not break a
        connection, unless it says that the server cannot serve.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                pinned = self._idle.pop() if self._idle else await self._connect()
                async with self._discard_if_broken(pinned):
                    yield pinned.connection
        except (RedisError, OSError, TimeoutError) as error:
            if _is_fatal(error):
                await self.close()
            raise

    async def close(self) -> None:
        """Close the idle connections and return them to their pool."""
        idle, self._idle = self._idle, []
        for pinned in idle:
            await pinned.close()

    async def follow_primary(self) -> None:
        """Ask the Sentinels for the primary, and use no connection to another server from now on.

        After a planned failover the old primary serves for some seconds more, and its connections are not
        closed. Raises MasterNotFoundError. Does nothing without Sentinels.
        """
        pool = self._client.connection_pool if isinstance(self._client, Redis) else None
        if isinstance(pool, SentinelConnectionPool):
            await self._use_only(await pool.get_master_address())

    def is_current(self, connection: Any) -> bool:
        """Whether the connection leads to the primary as it was last known."""
        return self._primary is None or self._primary == (connection.host, connection.port)

    async def _use_only(self, primary: tuple[str, int]) -> None:
        self._primary = primary
        stale = [pinned for pinned in self._idle if not self.is_current(pinned.connection)]
        self._idle = [pinned for pinned in self._idle if self.is_current(pinned.connection)]
        for pinned in stale:
            await pinned.close()

    async def _keep(self, pinned: "_PinnedConnection") -> None:
        if self.is_current(pinned.connection):
            self._idle.append(pinned)
        else:
            await pinned.close()

    async def _connect(self) -> "_PinnedConnection":
        before = cancellations()
        try:
            pinned = await _from_pool(self._client, self._key)
        except (RedisError, OSError, TimeoutError):
            raise_if_cancelled(before)
            raise
        try:
            raise_if_cancelled(before)
        except asyncio.CancelledError:
            await pinned.release()
            raise
        if self._timeout_s is not None:
            pinned.connection.socket_timeout = None
        if not self.is_current(pinned.connection):  # the pool has asked the Sentinels
            await self._use_only((pinned.connection.host, pinned.connection.port))
        return pinned

    @asynccontextmanager
    async def _discard_if_broken(self, pinned: "_PinnedConnection") -> AsyncGenerator[None]:
        try:
            yield
        except BaseException as error:
            if _is_fatal(error):
                await pinned.close()
            else:
                await self._keep(pinned)
            raise
        await self._keep(pinned)


@dataclass(frozen=True)
class _PinnedConnection:
    connection: Any
    release: Callable[[], Awaitable[None]]
    """Returns the connection to its pool."""
    socket_timeout_s: float | None
    """The pool's own setting, restored before the release."""

    async def close(self) -> None:
        self.connection.socket_timeout = self.socket_timeout_s
        try:
            await self.connection.disconnect(nowait=True)
        finally:
            await self.release()


def cancellations() -> int:
    """Return how many cancellations of the running task are pending."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def raise_if_cancelled(before: int) -> None:
    """Raise CancelledError if the task was cancelled since `before` cancellations were pending.

    redis-py swallows a cancellation that arrives while it checks the health of a connection.
    """
    if cancellations() > before:
        raise asyncio.CancelledError


def _is_fatal(error: BaseException) -> bool:
    """Whether a connection must not be used again after this error."""
    return not isinstance(error, ResponseError) or classify_error(error) is ErrorClass.RETRYABLE


async def _from_pool(client: AsyncClient, key: str) -> _PinnedConnection:
    if not isinstance(client, RedisCluster):
        pool = client.connection_pool
        taken: Any = await pool.get_connection()
        return _PinnedConnection(taken, lambda: pool.release(taken), taken.socket_timeout)
    await client.initialize()
    node = client.get_node_from_key(key)
    assert node is not None
    connection: Any = node.acquire_connection()

    async def release() -> None:
        node.release(connection)

    try:
        await connection.connect()
    except BaseException:
        await release()
        raise
    return _PinnedConnection(connection, release, connection.socket_timeout)
