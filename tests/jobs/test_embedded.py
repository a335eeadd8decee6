"""The embedded server: private, durable, one a directory, and gone with its owner."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from jobs.client.client import JobClient
from jobs.contract.errors import DataLost, QueueUnavailable
from jobs.contract.job import JobState
from jobs.redis.embedded import EmbeddedRedis, EmbeddedSettings
from jobs.worker.consumer import JobConsumer
from tests.support.sample_jobs import commit, make_job


def _open(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, protocol=2)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_server_is_private_durable_and_never_evicts(tmp_path: Path) -> None:
    with EmbeddedRedis(EmbeddedSettings(max_memory_bytes=100 << 20)) as embedded:
        url = embedded.start(tmp_path)
        with _open(url) as client:
            settings = client.config_get("*")
        assert settings["port"] == "0"
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "always"
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["maxmemory"] == str(100 << 20)
        socket = Path(url.removeprefix("unix://").partition("?")[0])
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert embedded.pid is None


async def test_killed_server_comes_back_with_its_jobs(tmp_path: Path) -> None:
    with EmbeddedRedis() as embedded:
        url = embedded.start(tmp_path)
        client = await JobClient.connect(url)
        jobs = [make_job() for _ in range(50)]
        for job in jobs:
            await client.submit(job)
        for _ in range(2):
            pid = embedded.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            started = time.monotonic()
            while True:
                try:
                    await client.ping()
                    break
                except QueueUnavailable:
                    await asyncio.sleep(0.05)
            assert time.monotonic() - started < 5
            assert embedded.pid != pid
        consumer = JobConsumer(url, worker_id="w")
        claims = consumer.claim(100)
        assert [claimed.job for claimed in claims] == jobs
        for claimed in claims:
            commit(consumer, claimed)
        assert (await client.status(jobs[7].id)).state is JobState.SUCCEEDED
        consumer.close()
        await client.close()


async def test_stopped_server_keeps_its_jobs_for_the_next_start(tmp_path: Path) -> None:
    job = make_job()
    for first in (True, False):
        with EmbeddedRedis() as embedded:
            client = await JobClient.connect(embedded.start(tmp_path))
            if first:
                await client.submit(job)
            assert (await client.status(job.id)).state is JobState.QUEUED
            await client.close()


def test_second_server_on_one_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.redis.embedded._LOCK_TIMEOUT_S", 0.2)
    with EmbeddedRedis() as first:
        first.start(tmp_path)
        with pytest.raises(QueueUnavailable, match=f"process {os.getpid()}, uses "):
            EmbeddedRedis().start(tmp_path)
        assert first.pid is not None


def test_long_directory_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("а" * 60) / ("b" * 60)
    with EmbeddedRedis() as embedded:
        url = embedded.start(deep)
        socket = Path(url.removeprefix("unix://").partition("?")[0])
        assert len(os.fsencode(socket)) < 104
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        with _open(url) as client:
            assert client.ping()
    assert (deep / "server.log").exists()


def test_vanished_data_are_not_taken_for_a_first_start(tmp_path: Path) -> None:
    with EmbeddedRedis() as embedded:
        embedded.start(tmp_path)
    for file in (tmp_path / "appendonlydir").iterdir():
        file.unlink()
    (tmp_path / "appendonlydir").rmdir()
    with pytest.raises(DataLost, match="held the queue"):
        EmbeddedRedis().start(tmp_path)
    (tmp_path / "initialised").unlink()
    with EmbeddedRedis() as embedded:
        embedded.start(tmp_path)


def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with EmbeddedRedis() as embedded:
        embedded.start(tmp_path)
    for file in (tmp_path / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"*1\r\n$3\r\nBAD\r\n" + os.urandom(100))
    with pytest.raises(QueueUnavailable, match=r"did not start.*([Bb]ad file format|[Uu]nknown command)"):
        EmbeddedRedis().start(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_server_ends_with_its_killed_owner(tmp_path: Path) -> None:
    program = (
        "import sys, time; from jobs.redis.embedded import EmbeddedRedis; server = EmbeddedRedis(); "
        "server.start(sys.argv[1]); print(server.pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    server_pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with EmbeddedRedis() as next_owner:  # waits for the lock, which the old server holds while it lives
        next_owner.start(tmp_path)
        assert next_owner.pid != server_pid
        assert not _is_running(server_pid)
