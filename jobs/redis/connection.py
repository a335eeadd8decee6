"""Opens a client from a URL: one Redis server, Sentinels, or a Cluster. Knows nothing of jobs.

jobs.redis.address has the forms of the URL. redis-py's own retries are off, because they repeat commands that
are not idempotent. jobs.redis.retry retries scripts, which are.
"""

import logging
from typing import Any

import redis
import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from redis.sentinel import Sentinel
from redis.sentinel import SentinelConnectionPool as SyncSentinelPool

from jobs.redis.address import Address, parse_url, without_credentials
from jobs.redis.sentinels import SENTINEL_TIMEOUT_S, AllSentinels

CONNECT_TIMEOUT_S = 2.0
_log = logging.getLogger(__name__)

SyncClient = redis.Redis | RedisCluster
AsyncClient = aioredis.Redis | AsyncRedisCluster


def open_sync(url: str, *, timeout_s: float, max_connections: int = 16) -> SyncClient:
    """Open a thread-safe client. It sends nothing yet, except to find the nodes of a Cluster."""
    address = _parsed(url)
    common: dict[str, Any] = _common(timeout_s) | {"retry": Retry(NoBackoff(), 0)}
    options = dict(address.options)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, **common, **options)
    common["max_connections"] = max_connections
    if address.kind == "sentinel":
        own = _for_sentinels(address, SENTINEL_TIMEOUT_S) | {"redis_connect_func": _authenticate}
        own["retry"] = common["retry"]
        sentinel = Sentinel(list(address.hosts), sentinel_kwargs=own, **common, **options)
        return sentinel.master_for(address.service)
    return redis.Redis(**common, **options)


def open_async(url: str, *, timeout_s: float, max_connections: int = 64) -> AsyncClient:
    """Open a client for one event loop. It sends nothing yet."""
    address = _parsed(url)
    common: dict[str, Any] = _common(timeout_s) | {"retry": AsyncRetry(NoBackoff(), 0)}
    common["max_connections"] = max_connections
    options = dict(address.options)
    if address.kind == "cluster":
        nodes = [AsyncClusterNode(host, port) for host, port in address.hosts]
        return AsyncRedisCluster(startup_nodes=nodes, **common, **options)
    if address.kind == "sentinel":
        own = _for_sentinels(address, SENTINEL_TIMEOUT_S) | {"redis_connect_func": _authenticate_async}
        own["retry"] = common["retry"]
        sentinel = AllSentinels(list(address.hosts), sentinel_kwargs=own, **common, **options)
        return sentinel.master_for(address.service)
    return aioredis.Redis(**common, **options)


def close_sync(client: SyncClient) -> None:
    """Close all connections of a client, those to the Sentinels included."""
    client.close()
    if isinstance(client, redis.Redis) and isinstance(client.connection_pool, SyncSentinelPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            sentinel.close()


async def close_async(client: AsyncClient) -> None:
    """Close all connections of a client, those to the Sentinels included."""
    await client.aclose()
    if isinstance(client, aioredis.Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _common(timeout_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, CONNECT_TIMEOUT_S),
        "protocol": 2,
    }


def _parsed(url: str) -> Address:
    address = parse_url(url)
    if not address.checks_certificates:
        _log.warning(
            "The certificate of Redis at %s is not checked, so another server may take its place. Remove "
            "ssl_cert_reqs and ssl_check_hostname from the URL, and name the authority with ssl_ca_certs.",
            without_credentials(url),
        )
    return address


def _for_sentinels(address: Address, timeout_s: float) -> dict[str, Any]:
    return _common(timeout_s) | dict(address.sentinel_options)


def _authenticate(connection: Any) -> None:
    """Greet a Sentinel, without a user if it does not know ours: many Sentinels have no users at all.

    A Sentinel that requires one refuses the first command.
    """
    try:
        connection.on_connect()
    except AuthenticationError:
        connection.username = connection.password = None
        connection.on_connect()


async def _authenticate_async(connection: Any) -> None:
    try:
        await connection.on_connect()
    except AuthenticationError:
        connection.username = connection.password = None
        await connection.on_connect()
