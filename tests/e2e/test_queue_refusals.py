"""Redis users without a right, and workers of another model: real processes that refuse, and say why."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from tests.support.redis_servers import RedisServer, free_port
from tests.support.redis_users import make_user, url_of
from tests.support.servers import ROOT, serving

MISCONFIGURED = 78
REFUSAL = "Redis does not let the user of the URL run ZPOPMIN."


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with RedisServer() as server:
        yield server


def rudolph(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={name: value for name, value in os.environ.items() if not name.startswith("RUDOLPH_")},
    )  # fmt: skip


def test_serve_worker_and_doctor_refuse_a_user_without_a_right_and_name_it(
    redis: RedisServer, tiny_v2: Path
) -> None:
    url = make_user(redis, "poor", without="zpopmin")
    served = rudolph("serve", "--workers", "0", "--port", "0", "--redis-url", url)
    assert served.returncode == MISCONFIGURED
    assert REFUSAL in " ".join(served.stderr.split())
    worker = rudolph("worker", "--model", tiny_v2, "--device", "cpu", "--redis-url", url)
    assert worker.returncode == MISCONFIGURED
    assert REFUSAL in worker.stderr + worker.stdout
    checked = rudolph("doctor", "--model", tiny_v2, "--device", "cpu", "--redis-url", url)
    assert checked.returncode == 1
    assert "ZPOPMIN" in checked.stdout
    for reply in (served, worker, checked):
        assert "geheim" not in reply.stdout + reply.stderr
        assert "Traceback" not in reply.stdout + reply.stderr


def test_a_right_that_is_taken_away_makes_a_running_server_unready(
    redis: RedisServer, tiny_v2: Path, tmp_path: Path
) -> None:
    url = make_user(redis, "rich")
    with serving(tiny_v2, tmp_path, "--redis-url", url) as server:
        assert server.client.get("/health/ready").status_code == 200
        make_user(redis, "rich", without="zpopmin")
        reply = server.client.get("/health/ready")
        assert reply.status_code == 503
        assert "ZPOPMIN" in reply.json()["checks"]["redis"]
        server.wait_for_log("ZPOPMIN")  # the worker names it too
        make_user(redis, "rich")
        until = time.monotonic() + 20
        while server.client.get("/health/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_an_api_that_waits_for_its_right_says_so_in_its_readiness(redis: RedisServer, tmp_path: Path) -> None:
    port = free_port()
    with redis.client() as client:
        client.flushall()  # with a model in Redis the API would be ready without a worker
    make_user(redis, "late", without="info")
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port)],
        cwd=ROOT, env=os.environ | {"RUDOLPH_REDIS_URL": url_of(redis, "late")},
        stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert "INFO" in _until(port, 503, "INFO")
        make_user(redis, "late")
        assert "none is live" in _until(port, 503, "none is live")
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    assert b"geheim" not in (tmp_path / "log").read_bytes()


def _until(port: int, status: int, words: str) -> str:
    until = time.monotonic() + 30
    while True:
        try:
            reply = httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False)
            if reply.status_code == status and words in reply.text:
                return json.dumps(reply.json()["checks"])
        except httpx.TransportError:
            pass
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_a_worker_of_another_model_ends_with_one_line_and_the_queue_keeps_its_model(
    redis: RedisServer, tiny_v1: Path, tiny_v2: Path, tmp_path: Path
) -> None:
    with redis.client() as client:
        client.flushall()
    with serving(tiny_v2, tmp_path, "--redis-url", redis.url) as server:
        other = rudolph("worker", "--model", tiny_v1, "--device", "cpu", "--redis-url", redis.url)
        assert other.returncode == MISCONFIGURED
        (line,) = [line for line in other.stderr.splitlines() if '"worker_refused"' in line]
        assert "tiny-v1@" in line
        assert "tiny-v2@" in line
        assert "RUDOLPH_QUEUE_NAME" in line
        for seed in range(8):
            reply = server.client.post("/v1/text2image", json={"prompt": "кот", "seed": seed})
            assert reply.json()["model"].startswith("tiny-v2@")
