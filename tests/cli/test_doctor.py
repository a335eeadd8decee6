"""What `rudolph doctor` says of a Redis that cannot be used: the cause, and no secret."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest

from cli.redis_findings import redis_findings
from tests.support.redis_servers import RedisServer, free_port
from tests.support.redis_users import make_user


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://rudolph:falsch@127.0.0.1:{port}", "WRONGPASS"),
        ("rediss://127.0.0.1:{port}", "speaks TLS"),
        ("redis://name.invalid:{port}", "host name in the URL is unknown"),
        ("redis://127.0.0.1:{free}", "No server listens"),
        ("redis://127.0.0.1:{port}/9999", "no database of the number"),
        ("redis+sentinel://127.0.0.1:{free}/queue", "No Sentinel"),
        ("redis+sentinel://127.0.0.1:{port}/queue", "not a Sentinel"),
        ("redis+cluster://127.0.0.1:{port}", "not a Redis Cluster"),
        ("unix:///absent/redis.sock", "Unix socket in the URL does not exist"),
        ("redis://user:qz/xv@127.0.0.1:{port}", "%2F"),
    ],
)
def test_the_cause_is_named(redis: RedisServer, tmp_path: Path, url: str, words: str) -> None:
    [found] = redis_findings(url.format(port=redis.port, free=free_port()), "rudolph", tmp_path, None)
    assert found.state == "missing"
    assert re.search(words, found.detail), found.detail
    for secret in ("falsch", "qz", "xv"):
        assert secret not in found.detail + found.remedy


def test_a_missing_right_is_named(redis: RedisServer, tmp_path: Path) -> None:
    [found] = redis_findings(make_user(redis, "poor", without="zpopmin"), "rudolph", tmp_path, None)
    assert found.state == "missing"
    assert "ZPOPMIN" in found.detail
    found, *_ = redis_findings(make_user(redis, "poor"), "rudolph", tmp_path, None)
    assert found.state == "ok"


def test_settings_that_lose_jobs_are_named_with_a_remedy_and_nothing_is_written(tmp_path: Path) -> None:
    with RedisServer(appendonly="no", **{"maxmemory-policy": "allkeys-lru"}) as server:
        ok, *faults = redis_findings(server.url, "rudolph", tmp_path, None)
        assert (ok.state, "no queue of this name yet" in ok.detail) == ("ok", True)
        assert [(fault.state, fault.remedy) for fault in faults] == [
            ("note", "Set `appendonly yes`."),
            ("missing", "Set `maxmemory-policy noeviction`."),
            ("note", "Set `maxmemory` to about half of the memory of its machine."),
        ]
        with server.client() as redis:
            assert redis.dbsize() == 0


def test_lost_data_are_named(tmp_path: Path) -> None:
    with RedisServer(maxmemory=1 << 30) as server, server.client() as redis:
        redis.set("{rudolph}:lost", "epoch")
        [found] = redis_findings(server.url, "rudolph", tmp_path, None)
        assert found.state == "missing"
        assert "lost its data" in found.detail
        assert redis.keys() == [b"{rudolph}:lost"]
