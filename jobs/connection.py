"""How a URL becomes a connection. Knows Redis, Sentinel and Cluster; knows nothing of jobs.

redis://host:6379/0   rediss://…   unix:///path/redis.sock?db=0
redis+sentinel://user:password@host:26379,host:26379/service/0     (rediss+sentinel:// for TLS)
redis+cluster://user:password@host:7000,host:7001                  (rediss+cluster:// for TLS)

The library's own retries are off: they would replay commands that must not be replayed. Retrying is done
above, around scripts that are safe to repeat.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from jobs.verdict import Verdict, judge

CONNECT_TIMEOUT_S = 2.0

SyncClient = redis.Redis | RedisCluster
AsyncClient = aioredis.Redis | AsyncRedisCluster


@dataclass(frozen=True)
class Address:
    """A parsed URL. `options` are what redis-py calls connection arguments."""

    kind: Literal["single", "sentinel", "cluster"]
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: tuple[tuple[str, Any], ...] = ()


def parse_url(url: str) -> Address:
    """Raises ValueError for anything but the forms listed at the head of this file."""
    parts = urlsplit(url)
    scheme, _, topology = parts.scheme.partition("+")
    if not topology:
        if scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"not a Redis URL: {parts.scheme}://… (redis, rediss, unix, redis+sentinel, …)")
        return Address("single", url)
    if scheme not in ("redis", "rediss") or topology not in ("sentinel", "cluster"):
        raise ValueError(f"not a Redis URL: {parts.scheme}://…")
    credentials, _, host_list = parts.netloc.rpartition("@")
    default_port = 26379 if topology == "sentinel" else 6379
    options: dict[str, Any] = {}
    if credentials:
        username, _, password = credentials.partition(":")
        options |= {"username": unquote(username) or None, "password": unquote(password) or None}
    if scheme == "rediss":
        options["ssl"] = True
    service, _, database = parts.path.strip("/").partition("/")
    if topology == "sentinel":
        if not service:
            raise ValueError("a Sentinel URL needs the service: redis+sentinel://host:26379/service/0")
        options["db"] = int(database or 0)
    hosts = tuple(_host_and_port(host, default_port) for host in host_list.split(","))
    kind: Literal["sentinel", "cluster"] = "sentinel" if topology == "sentinel" else "cluster"
    return Address(kind, url, hosts, service, tuple(options.items()))


def open_sync(url: str, *, timeout_s: float, max_connections: int = 16) -> SyncClient:
    """A thread-safe client; nothing is sent yet, except to find the nodes of a Cluster."""
    address = parse_url(url)
    common: dict[str, Any] = _common(timeout_s) | {"retry": Retry(NoBackoff(), 0)}
    options = dict(address.options)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, **common, **options)
    common["max_connections"] = max_connections
    if address.kind == "sentinel":
        sentinel = Sentinel(list(address.hosts), **common, **options)
        return sentinel.master_for(address.service)
    return redis.Redis.from_url(url, **common)


def open_async(url: str, *, timeout_s: float, max_connections: int = 64) -> AsyncClient:
    """A client for one event loop; nothing is sent yet."""
    address = parse_url(url)
    common: dict[str, Any] = _common(timeout_s) | {"retry": AsyncRetry(NoBackoff(), 0)}
    common["max_connections"] = max_connections
    options = dict(address.options)
    if address.kind == "cluster":
        nodes = [AsyncClusterNode(host, port) for host, port in address.hosts]
        return AsyncRedisCluster(startup_nodes=nodes, **common, **options)
    if address.kind == "sentinel":
        sentinel = AsyncSentinel(list(address.hosts), **common, **options)
        return sentinel.master_for(address.service)
    return aioredis.Redis.from_url(url, **common)


class Wires:
    """Connections to the server that owns a key, kept at hand from one command to the next.

    redis-py's pool looks at a connection whenever it gives one out, and its connections watch the time of
    every write and read, all of which takes longer than a command. Here the connection that was used last is
    used again as it is, and the time of an exchange is watched as a whole.
    """

    def __init__(self, client: AsyncClient, key: str, *, timeout_s: float | None = None) -> None:
        """timeout_s: for one use of a connection; None leaves the time of writes and reads to the client."""
        self._client = client
        self._key = key
        self._timeout_s = timeout_s
        self._at_hand: list[_Wire] = []

    @asynccontextmanager
    async def borrow(self) -> AsyncGenerator[Any]:
        """A connected connection, for commands that must follow each other.

        A connection on which anything went wrong is closed, for a reply may still be under way on it, or its
        server may no longer be the master; then those at hand are closed too. An error reply that says
        nothing of the kind leaves it open.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                wire = self._at_hand.pop() if self._at_hand else await self._connected()
                async with self._closed_if_spoilt(wire):
                    yield wire.connection
        except (RedisError, OSError, TimeoutError) as error:
            if _spoils(error):
                await self.close()
            raise

    async def close(self) -> None:
        """Close the connections at hand, and give them back to their pool."""
        wires, self._at_hand = self._at_hand, []
        for wire in wires:
            await wire.close()

    async def _connected(self) -> "_Wire":
        before = cancellations()
        try:
            wire = await _obtain(self._client, self._key)
        except (RedisError, OSError, TimeoutError):
            honour_cancellation(before)
            raise
        try:
            honour_cancellation(before)
        except asyncio.CancelledError:
            await wire.release()
            raise
        if self._timeout_s is not None:
            wire.connection.socket_timeout = None
        return wire

    @asynccontextmanager
    async def _closed_if_spoilt(self, wire: "_Wire") -> AsyncGenerator[None]:
        try:
            yield
        except BaseException as error:
            if _spoils(error):
                await wire.close()
            else:
                self._at_hand.append(wire)
            raise
        self._at_hand.append(wire)


@dataclass(frozen=True)
class _Wire:
    connection: Any
    release: Callable[[], Awaitable[None]]
    """Gives it back to its pool."""
    socket_timeout_s: float | None

    async def close(self) -> None:
        self.connection.socket_timeout = self.socket_timeout_s
        try:
            await self.connection.disconnect(nowait=True)
        finally:
            await self.release()


def _spoils(error: BaseException) -> bool:
    """Whether a connection is not to be used again after this."""
    return not isinstance(error, ResponseError) or judge(error) is Verdict.AGAIN


async def _obtain(client: AsyncClient, key: str) -> _Wire:
    if not isinstance(client, AsyncRedisCluster):
        pool = client.connection_pool
        borrowed: Any = await pool.get_connection()
        return _Wire(borrowed, lambda: pool.release(borrowed), borrowed.socket_timeout)
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
    return _Wire(connection, release, connection.socket_timeout)


def cancellations() -> int:
    """How often the running task was asked to end, and has not yet."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def honour_cancellation(before: int) -> None:
    """End a task that was asked to since there were `before` requests: redis-py loses one that comes while it
    looks whether a connection is still good."""
    if cancellations() > before:
        raise asyncio.CancelledError


async def refresh(client: AsyncClient) -> None:
    """Learn the slots of a Cluster anew; other clients find their server when they connect."""
    if isinstance(client, AsyncRedisCluster):
        await client.nodes_manager.initialize()


async def close_async(client: AsyncClient) -> None:
    """Close all connections of a client, and those by which it asked the Sentinels."""
    await client.aclose()
    if isinstance(client, aioredis.Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _common(timeout_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "protocol": 2,
    }


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", "")
    return host.strip("[]"), int(port or default_port)
