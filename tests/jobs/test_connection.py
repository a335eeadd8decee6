"""URLs of the queue, and what is left of a connection that was closed."""

import asyncio
import time

import pytest

from jobs import keys
from jobs.client import JobClient
from jobs.connection import parse_url
from tests.faults.topologies import SentinelGroup, sentinel_group


def test_sentinel_url_names_hosts_service_and_credentials() -> None:
    address = parse_url("redis+sentinel://user:p%40ss@one:26379,two/queue/3")
    assert address.kind == "sentinel"
    assert address.hosts == (("one", 26379), ("two", 26379))
    assert address.service == "queue"
    assert dict(address.options) == {"username": "user", "password": "p@ss", "db": 3}


def test_cluster_url_names_hosts_and_tls() -> None:
    address = parse_url("rediss+cluster://[::1]:7000,two:7001")
    assert address.kind == "cluster"
    assert address.hosts == (("::1", 7000), ("two", 7001))
    assert dict(address.options) == {"ssl": True}


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h", "unix:///a/b.sock?db=0"])
def test_plain_urls_are_left_to_the_library(url: str) -> None:
    assert parse_url(url).kind == "single"


@pytest.mark.parametrize(
    "url", ["http://h", "amqp://h", "redis+what://h", "http+sentinel://h/s", "redis+sentinel://h"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        parse_url(url)


@pytest.mark.parametrize("name", ["", "a b", "a{b", "a}"])
def test_queue_names_that_would_break_the_hash_tag_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="queue name"):
        keys.prefix(name)


def test_idempotency_key_of_a_client_is_not_stored() -> None:
    assert "secret" not in keys.idempotency_suffix("tenant", "secret")


async def test_closed_client_leaves_no_connection_to_a_sentinel() -> None:
    with sentinel_group() as group:
        before = _num_connections(group)
        client = await JobClient.connect(group.url)
        await client.ping()
        assert _num_connections(group) > before
        await client.close()
        give_up_at = time.monotonic() + 5
        while _num_connections(group) > before:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.05)


def _num_connections(group: SentinelGroup) -> int:
    """Of clients; the Sentinels give a name to those among themselves."""
    count = 0
    for sentinel in group.sentinels:
        with sentinel.client() as client:
            count += sum(entry["name"] == "" for entry in client.client_list())
    return count
