"""A client that leaves: its job is cancelled and the engine's slots come back, while the server works on."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import Server, serving

LONG = {"prompt": "красный круг", "candidates": 256, "guidance": 0.5, "stream": True}
"""512 sequences in 16 slots take far longer than the server needs to notice that a client left."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def worker_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(tiny_v2: Path, worker_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = str(worker_port)
    with serving(tiny_v2, tmp_path_factory.mktemp("server"), RUDOLPH_WORKER_METRICS_PORT=port) as running:
        yield running


def begin(server: Server, body: dict[str, Any]) -> tuple[socket.socket, str]:
    """A streamed request whose answer has begun, and the id of its job."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    data = json.dumps(body).encode()
    head = "POST /v1/text2image HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(4096)
    lines = received.decode("latin-1").split("\r\n")
    job_id = next(line.partition(": ")[2] for line in lines if line.lower().startswith("x-job-id"))
    return connection, job_id


def slots_used(worker_port: int) -> float:
    text = httpx.get(f"http://127.0.0.1:{worker_port}/metrics", timeout=10).text
    return next(
        float(line.split()[1]) for line in text.splitlines() if line.startswith("rudolph_kv_slots_used ")
    )


def wait_until(condition: Any, what: str, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"never: {what}"
        time.sleep(0.02)


def test_leaving_frees_the_slots_before_the_job_is_done(server: Server, worker_port: int) -> None:
    connection, job_id = begin(server, LONG)
    wait_until(lambda: slots_used(worker_port) > 0, "the job runs")
    assert server.client.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
    connection.close()
    wait_until(lambda: slots_used(worker_port) == 0, "the slots are free")
    wait_until(lambda: server.client.get(f"/v1/jobs/{job_id}").json()["state"] != "running", "it has ended")
    job = server.client.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["error"]["code"]) == ("cancelled", "cancelled")


def test_others_go_on_while_many_leave(server: Server, worker_port: int) -> None:
    alone = server.client.post("/v1/text2image", json={"prompt": "кот", "seed": 3}).json()["images"]
    leaving = [begin(server, LONG | {"candidates": 8}) for _ in range(6)]
    for connection, _ in leaving:
        connection.close()
    beside = server.client.post("/v1/text2image", json={"prompt": "кот", "seed": 3}).json()["images"]
    assert beside == alone
    wait_until(lambda: slots_used(worker_port) == 0, "the slots are free")
    states = {server.client.get(f"/v1/jobs/{job_id}").json()["state"] for _, job_id in leaving}
    assert states <= {"cancelled", "succeeded"}
