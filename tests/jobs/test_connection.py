"""URLs of the queue, and what is left of a connection that was closed."""

import asyncio
import os
import re
import time
import urllib.parse
from pathlib import Path

import pytest

from jobs.client.client import JobClient
from jobs.redis import keys
from jobs.redis.address import check_url, parse_url, without_credentials
from jobs.worker.consumer import JobConsumer
from tests.faults.topologies import SentinelGroup, sentinel_group


def test_sentinel_url_names_hosts_service_and_credentials() -> None:
    address = parse_url("redis+sentinel://user:p%40ss@one:26379,two/queue/3")
    assert address.kind == "sentinel"
    assert address.hosts == (("one", 26379), ("two", 26379))
    assert address.service == "queue"
    assert dict(address.options) == {"username": "user", "password": "p@ss", "db": 3}
    assert dict(address.sentinel_options) == {"username": "user", "password": "p@ss"}


def test_tls_and_credentials_hold_for_the_sentinels_too(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    address = parse_url(f"rediss+sentinel://user:sesame@one/queue?ssl_ca_certs={authority}&db=2")
    tls = {"ssl": True, "ssl_ca_certs": str(authority)}
    assert dict(address.options) == tls | {"username": "user", "password": "sesame", "db": 2}
    assert dict(address.sentinel_options) == tls | {"username": "user", "password": "sesame"}
    own = parse_url("redis+sentinel://user:sesame@one/queue?sentinel_username=s&sentinel_password=t")
    assert dict(own.sentinel_options) == {"username": "s", "password": "t"}
    assert dict(own.options) == {"username": "user", "password": "sesame", "db": 0}
    none = parse_url("redis+sentinel://user:sesame@one/queue?sentinel_password=")
    assert dict(none.sentinel_options) == {}


@pytest.mark.parametrize(
    "form",
    ["rediss://h:1/0", "rediss+sentinel://h:1/service", "rediss+cluster://h:1"],
)
def test_options_are_read_in_every_form(form: str) -> None:
    address = parse_url(f"{form}?username=u&password=a%20b&ssl_cert_reqs=none")
    assert {"username": "u", "password": "a b", "ssl": True}.items() <= dict(address.options).items()
    assert not address.checks_certificates
    assert parse_url(form).checks_certificates


@pytest.mark.parametrize(
    "form",
    ["redis://u@h:1/0", "unix:///socket?username=u", "redis+sentinel://u@h/s", "redis+cluster://u@h:1"],
)
def test_a_password_is_read_from_a_file_in_every_form(tmp_path: Path, form: str) -> None:
    (tmp_path / "password").write_text("a b@/\n", encoding="utf-8")
    url = f"{form}{'&' if '?' in form else '?'}password_file={tmp_path / 'password'}"
    address = parse_url(url)
    assert {"username": "u", "password": "a b@/"}.items() <= dict(address.options).items()
    assert "password" not in without_credentials(url)


def test_sentinels_have_a_password_file_of_their_own(tmp_path: Path) -> None:
    for name in ("data", "sentinels"):
        (tmp_path / name).write_text(name)
    address = parse_url(
        f"redis+sentinel://u@h/s?password_file={tmp_path}/data&sentinel_password_file={tmp_path}/sentinels"
    )
    assert dict(address.options)["password"] == "data"
    assert dict(address.sentinel_options) == {"password": "sentinels"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, r"cannot be read \(No such file"),
        (b"\n", "an empty file"),
        (b"\xff", "not text in UTF-8"),
        (b"sesame", "the password twice"),
    ],
)
def test_a_wrong_password_file_is_named_and_never_shown(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    before = "redis://u:other@h" if content == b"sesame" else "redis://u@h"
    with pytest.raises(ValueError, match=fault) as caught:
        check_url(f"{before}?password_file={tmp_path / 'file'}")
    assert "sesame" not in str(caught.value)


def test_a_path_of_a_socket_keeps_every_byte() -> None:
    path = b"/tmp/a#b?c@d%e\xff"
    address = parse_url(f"unix://u:p@{urllib.parse.quote(path)}?db=3")
    assert dict(address.options) == {
        "unix_socket_path": os.fsdecode(path), "username": "u", "password": "p", "db": 3,
    }  # fmt: skip


def test_cluster_url_names_hosts_and_tls() -> None:
    address = parse_url("rediss+cluster://[::1]:7000,two:7001")
    assert address.kind == "cluster"
    assert address.hosts == (("::1", 7000), ("two", 7001))
    assert dict(address.options) == {"ssl": True}


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h", "unix:///a/b.sock?db=0"])
def test_plain_urls_are_left_to_the_library(url: str) -> None:
    assert parse_url(url).kind == "single"


@pytest.mark.parametrize(
    "url", ["http://h", "amqp://h", "redis+what://h", "http+sentinel://h/s", "unix+cluster://h", "redis+://h"]
)
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis://.*redis\+cluster://"):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:6379", "got a value that is no URL"),
        ("redis://h:port", "a port that is not a number from 1 to 65535"),
        ("redis://h:99999", "a port that is not a number from 1 to 65535"),
        ("redis+cluster://h:port", "a port that is not a number"),
        ("redis+cluster://h:0", "a port that is not a number"),
        ("redis://h/first", "a database that is not a number"),
        ("redis://h/0?db=1", "names the database twice"),
        ("redis+cluster://h/1", "no databases"),
        ("redis://a:1,b:2", "several hosts"),
        ("redis://h?ssl_ca_certs=/etc/x", "ssl_ca_certs, which needs TLS"),
        ("rediss://h?ssl_ca_certs=/absent/file", "ssl_ca_certs names a file that does not exist"),
        ("rediss://h?ssl_cert_reqs=maybe", "required or none"),
        ("redis://h?decode_responses=true", "unknown option"),
        ("redis://h?protocol=3", "unknown option"),
        ("redis+sentinel://h/s?protocol=3", "unknown option"),
        ("redis://h?db=1&db=2", "twice"),
        ("redis://h?password=x", "password twice"),
        ("redis://::1", "brackets"),
        ("unix://relative.sock", "three slashes"),
        ("redis+cluster://", "no host"),
        ("redis+sentinel://h", "needs the service"),
        ("redis+sentinel://h/service/first", "a database that is not a number"),
    ],
)
def test_faults_of_a_url_are_named_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as fault:
        check_url(url.replace("://", "://user:sesame@"))
    assert "sesame" not in str(fault.value)
    assert "sesame" not in without_credentials(url.replace("://", "://user:sesame@"))


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "rediss+cluster", "unix"])
@pytest.mark.parametrize(
    "password",
    [
        "qzx/qzy",
        "12/34",
        "qzx?qzy",
        "12?qzy",
        "qzx#qzy",
        "12#34",
        "[qzxqzy",
        "qzx]qzy",
        "s\u2100qz",
        "qx?qy=qz",
    ],
)
def test_a_password_that_is_not_escaped_is_never_repeated(scheme: str, password: str) -> None:
    url = f"{scheme}://user:{password}@host:6379/service"
    with pytest.raises(ValueError, match="%2F") as fault:
        check_url(url)
    for part in (password, *re.split(r"[/?#=]", password)):
        assert len(part) < 2 or part not in str(fault.value).replace("%5B %5D", "")
    assert without_credentials(url) == f"{scheme}://…"


@pytest.mark.parametrize(
    ("url", "logged"),
    [
        ("redis://user:sesame@h:1/0", "redis://h:1/0"),
        ("redis://h/0?password=sesame", "redis://h/0"),
        ("redis://h/0?password=ses@me", "redis://h/0"),
        ("redis://user:ses@me@h/0", "redis://h/0"),
        ("sesame@h:1", "a wrong URL"),
        ("unix:///a/b.sock?db=0", "unix:///a/b.sock"),
        ("redis+sentinel://u:sesame@a:1,b:2/s/0", "redis+sentinel://a:1,b:2/s/0"),
    ],
)
def test_logged_url_has_no_credentials(url: str, logged: str) -> None:
    assert without_credentials(url) == logged


@pytest.mark.parametrize("name", ["", "a b", "a{b", "a}"])
def test_queue_names_that_would_break_the_hash_tag_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="queue name"):
        keys.prefix(name)


def test_idempotency_key_of_a_client_is_not_stored() -> None:
    assert "secret" not in keys.idempotency_suffix("tenant", "secret")


async def test_closed_client_and_consumer_leave_no_connection_to_a_sentinel() -> None:
    with sentinel_group() as group:
        before = _num_connections(group)
        client = await JobClient.connect(group.url)
        await client.ping()
        assert _num_connections(group) > before
        await client.close()
        await _wait_for_connections(group, before)

        consumer = JobConsumer(group.url, worker_id="w")
        consumer.claim(1)
        consumer.wait_for_work(0.01)
        assert _num_connections(group) > before
        consumer.close()
        await _wait_for_connections(group, before)


async def _wait_for_connections(group: SentinelGroup, count: int) -> None:
    give_up_at = time.monotonic() + 5
    while _num_connections(group) > count:
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.05)


def _num_connections(group: SentinelGroup) -> int:
    """Of clients; the Sentinels give a name to those among themselves."""
    count = 0
    for sentinel in group.sentinels:
        with sentinel.client() as client:
            count += sum(entry["name"] == "" for entry in client.client_list())
    return count
