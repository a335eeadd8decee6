"""What goes wrong at the start is said in one line, and nothing is left running."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.redis_servers import RedisServer, free_port
from tests.support.servers import ROOT, Server, serving


def serve(place: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "serve", "--data-dir", str(place), "--device", "cpu"]
    return subprocess.run(
        [*command, *map(str, options)], cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )


def last_line(reply: subprocess.CompletedProcess[str]) -> str:
    assert reply.returncode != 0
    assert "Traceback" not in reply.stderr
    return reply.stderr.strip().splitlines()[-1]


def test_taken_port_is_said_before_anything_starts(tmp_path: Path, tiny_v2: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        reply = serve(tmp_path, "--model", tiny_v2, "--port", str(taken.getsockname()[1]))
    assert "--port" in last_line(reply)
    assert not (tmp_path / "redis").exists()


def test_damaged_checkpoint_ends_the_server_with_the_tensor_s_name(
    tmp_path: Path, tiny_v1: Path, tiny_v2: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_v2, broken)
    shutil.copy(tiny_v1 / "pytorch_model.bin", broken / "pytorch_model.bin")
    reply = serve(tmp_path / "data", "--model", broken, "--port", "0")
    assert reply.returncode == 78
    assert "No worker could start" in last_line(reply)
    assert "model_not_loaded" in reply.stderr
    assert "text_embeddings" in reply.stderr


def test_second_server_on_the_same_data_is_refused(server_v2: Server, tmp_path: Path, tiny_v2: Path) -> None:
    data = server_v2.log.parent
    reply = serve(data, "--model", tiny_v2, "--port", "0")
    assert "Another server" in last_line(reply)
    assert server_v2.client.get("/health/ready").status_code == 200


def test_data_are_served_again_after_an_older_redis_was_installed(tmp_path: Path, tiny_v2: Path) -> None:
    """As `make serve`, `make test`, `make serve` on a fresh Debian: the tests install redis-server 7.0."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with serving(tiny_v2, tmp_path, PATH="/nowhere") as server:
        job = server.client.post("/v1/jobs", json={"task": "text2image", "input": {"prompt": "кот"}}).json()
        written_by = json.loads((tmp_path / "redis" / "written-by.json").read_text())
    assert written_by["program"] == "valkey"
    refused = serve(tmp_path, "--model", tiny_v2, "--port", "0", "--redis-server", "redis-server")
    assert refused.returncode == 78
    assert "Valkey 9.1 wrote" in last_line(refused)
    with serving(tiny_v2, tmp_path) as server:
        assert server.client.get(f"/v1/jobs/{job['id']}").json()["state"] in (
            "queued",
            "running",
            "succeeded",
        )


def test_wrong_setting_is_named(tmp_path: Path) -> None:
    reply = subprocess.run(
        [sys.executable, "-m", "cli", "serve", "--data-dir", str(tmp_path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "RUDOLPH_MAX_QUEUE_DEPTH": "many"},
    )
    assert reply.returncode == 78
    assert "RUDOLPH_MAX_QUEUE_DEPTH" in last_line(reply)


def test_keys_close_the_routes_and_the_printed_line_asks_for_one(tmp_path: Path, tiny_v2: Path) -> None:
    with serving(tiny_v2, tmp_path, RUDOLPH_API_KEYS="tester=a-long-enough-secret-key") as server:
        body = {"prompt": "кот", "seed": 1}
        assert server.client.post("/v1/text2image", json=body).status_code == 401
        assert server.client.get("/metrics").status_code == 401
        assert server.client.get("/health/ready").status_code == 200
        headers = {"Authorization": "Bearer a-long-enough-secret-key"}
        assert server.client.post("/v1/text2image", json=body, headers=headers).status_code == 200
        assert "$RUDOLPH_API_KEY" in server.text
        assert "a-long-enough-secret-key" not in server.text
        children = {one.pid for one in psutil.Process(server.process.pid).children(recursive=True)}
        assert set(server.worker_pids()) < children  # and the embedded Redis
        for pid in children:
            assert b"a-long-enough-secret-key" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_api_and_worker_run_apart_on_one_redis(tmp_path: Path, tiny_v2: Path) -> None:
    """The same parts as separate commands, as in containers."""
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as redis:
        metrics_port = free_port()
        with serving(tiny_v2, tmp_path / "api", "--workers", "0", "--redis-url", redis.url) as server:
            assert server.client.get("/health/ready").status_code == 503
            worker = subprocess.Popen(
                [sys.executable, "-m", "cli", "worker", "--model", str(tiny_v2), "--redis-url", redis.url],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # The number format is the machine's own choice, as in `make serve`.
                env=os.environ | {"RUDOLPH_WORKER_METRICS_PORT": str(metrics_port)},
            )
            try:
                wait_until_ready(server)
                reply = server.client.post("/v1/text2image", json={"prompt": "кот"})
                assert reply.status_code == 200
                own = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
                assert 'rudolph_jobs_total{outcome="succeeded",task="text2image"}' in own
                assert "_created" not in own
                assert httpx.get(f"http://127.0.0.1:{metrics_port}/health").status_code == 200
                assert httpx.get(f"http://127.0.0.1:{metrics_port}/nothing").status_code == 404
            finally:
                worker.terminate()
                assert worker.wait(60) == 0


def wait_until_ready(server: Server) -> None:
    deadline_s = time.monotonic() + 60
    while server.client.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
