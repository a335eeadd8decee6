"""Findings about the settings of a Redis server, from real servers."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from jobs.client.client import JobClient
from jobs.contract.limits import QueueLimits
from jobs.redis.server_info import ServerInfo
from tests.support.redis_servers import RedisServer

GOOD = {"maxmemory": 1 << 30}


async def _findings(server: RedisServer, **limits: Any) -> dict[str, bool]:
    """Cause and whether it breaks the queue, for each finding."""
    client = await JobClient.connect(server.url, queue="findings", limits=QueueLimits(**limits))
    try:
        return {finding.cause: finding.breaks for finding in await client.server_findings()}
    finally:
        await client.close()


@pytest.fixture
async def server() -> AsyncGenerator[RedisServer]:
    with RedisServer(**GOOD) as running:
        yield running


async def test_server_with_the_recommended_settings_has_no_finding(server: RedisServer) -> None:
    assert await _findings(server) == {}


@pytest.mark.parametrize(
    ("name", "value", "part", "breaks"),
    [
        ("appendonly", "no", "`appendonly` is off", False),
        ("maxmemory-policy", "allkeys-lru", "`maxmemory-policy` is allkeys-lru", True),
        ("maxmemory-policy", "volatile-ttl", "`maxmemory-policy` is volatile-ttl", True),
        ("maxmemory", 0, "`maxmemory` is not set", False),
        ("maxmemory", 1_500_000, "of `maxmemory`", False),
    ],
)
async def test_each_wrong_setting_is_a_finding(
    server: RedisServer, name: str, value: str | int, part: str, breaks: bool
) -> None:
    assert await _findings(server) == {}
    with server.client() as redis:
        redis.config_set(name, value)
        if part == "of `maxmemory`":
            redis.config_set(name, int(redis.info("memory")["used_memory"]) + 50_000)  # type: ignore[index]
    [(cause, found)] = (await _findings(server)).items()
    assert part in cause
    assert found is breaks


async def test_missing_replica_is_a_finding(server: RedisServer) -> None:
    client = await JobClient.connect(server.url, queue="q", limits=QueueLimits(wait_replicas=1))
    [finding] = await client.server_findings()
    assert finding.breaks
    assert "0 replicas; RUDOLPH_WAIT_REPLICAS is 1" in finding.cause
    await client.close()
    assert await _findings(server, wait_replicas="all") == {}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"redis_version:6.0.16\r\n", "version 6.0.16"),
        (b"redis_version:7.2.4\r\nrole:slave\r\n", "is a replica"),
        (b"redis_version:7.2.4\r\naof_last_write_status:err\r\n", "append-only file"),
    ],
)
def test_text_of_info_that_names_a_fault(text: bytes, part: str) -> None:
    """Versions and states that no server here can have."""
    causes = [
        finding.cause
        for finding in ServerInfo.parse(text + b"maxmemory:9\r\n").findings(
            wait_replicas=0, clock_difference_s=0.0
        )
    ]
    assert len(causes) == 1
    assert part in causes[0]


def test_valkey_is_not_measured_by_the_version_of_redis_that_it_imitates() -> None:
    info = ServerInfo.parse(b"redis_version:7.2.4\r\nvalkey_version:9.1.0\r\n")
    assert (info.program, info.version) == ("valkey", (9, 1, 0))


def test_clock_that_differs_is_a_finding() -> None:
    info = ServerInfo.parse(b"maxmemory:9\r\n")
    assert not list(info.findings(wait_replicas=0, clock_difference_s=4.0))
    [finding] = info.findings(wait_replicas=0, clock_difference_s=-60.0)
    assert "differ by 60 s" in finding.cause
    assert not finding.breaks


async def test_a_user_who_may_not_ask_has_no_findings(server: RedisServer) -> None:
    with server.client() as redis:
        redis.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info")
    url = server.url.replace("redis://", "redis://app:pw@")
    client = JobClient(url, "q", QueueLimits())
    assert await client.server_info() is None
    assert await client.server_findings() == []
    await client.close()
