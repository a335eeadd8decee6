"""`make bench-clients`: the cost of clients that disconnect, and of clients that do not read.

python -m bench.clients [leaving] [readers]; prints the figures and writes `bench/results/clients.json`.
Measures from outside: HTTP, the metrics of the worker, the memory of the API process.
"""

import json
import socket
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench import results
from bench.processes import ROOT, free_port, python_process, wait_for

CHECKPOINT = ROOT / "checkpoints" / "demo"
NUM_LEAVERS = 30
NUM_READERS = 1000
RECEIVE_BUFFER_BYTES = 4096
WATCHED_S = 45.0
"""Longer than the write timeout, so that the server closes the readers' connections meanwhile."""


@dataclass(frozen=True)
class Server:
    """A running server: its address, its API process and a client."""

    url: str
    process: psutil.Process
    client: httpx.Client


def main() -> None:
    wanted = sys.argv[1:] or ["leaving", "readers"]
    figures = results.document()
    if "leaving" in wanted:
        figures["leaving"] = {kind: leaving(streams=kind == "stream") for kind in ("request", "stream")}
    if "readers" in wanted:
        figures["readers"] = readers()
    print(json.dumps(figures, indent=2))
    results.save(results.RESULTS / "clients.json", figures)


def leaving(*, streams: bool) -> dict[str, float]:
    """Return quantiles of the seconds from a client's disconnect until all slots of the engine are free."""
    port = free_port()
    body = {"prompt": "кот", "candidates": 256, "guidance": 0.5, "stream": streams}
    samples: list[float] = []
    with _server(RUDOLPH_WORKER_METRICS_PORT=str(port)) as server:
        worker = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        for _ in range(NUM_LEAVERS):
            connection = post(server, "/v1/text2image", body)
            _wait_for_slots(worker, busy=True)
            time.sleep(0.2)
            connection.close()
            left_s = time.monotonic()
            _wait_for_slots(worker, busy=False)
            samples.append(time.monotonic() - left_s)
        worker.close()
    return results.quantiles(samples, 3)


def readers(count: int = NUM_READERS) -> dict[str, float]:
    """Return memory of the API process while `count` clients request partial images and read nothing."""
    limits = {
        "RUDOLPH_MAX_EVENT_STREAMS": str(count),
        "RUDOLPH_TENANT_MAX_EVENT_STREAMS": str(count),
        "RUDOLPH_TENANT_MAX_JOBS": str(count),
    }
    body = {"prompt": "кот", "n": 4, "partial_images": 16, "stream": True}
    with _server(**limits) as server:
        process = server.process
        server.client.post("/v1/text2image", json={"prompt": "кот"})
        before = process.memory_info().rss
        connections = [
            post(server, "/v1/text2image", body, buffer_bytes=RECEIVE_BUFFER_BYTES) for _ in range(count)
        ]
        peak, slowest_s, ends_s = before, 0.0, time.monotonic() + WATCHED_S
        while time.monotonic() < ends_s:
            peak = max(peak, process.memory_info().rss)
            asked_s = time.monotonic()
            server.client.get("/health/live").raise_for_status()
            slowest_s = max(slowest_s, time.monotonic() - asked_s)
            time.sleep(0.1)
        for connection in connections:
            connection.close()
        time.sleep(2)
        after = process.memory_info().rss
    return {
        "readers": count,
        "rss_before_mb": round(before / 1e6, 1),
        "rss_peak_mb": round(peak / 1e6, 1),
        "rss_after_mb": round(after / 1e6, 1),
        "kilobytes_a_reader_at_peak": round((peak - before) / count / 1e3, 1),
        "slowest_health_check_s": round(slowest_s, 3),
    }


def post(
    server: Server, path: str, body: dict[str, Any], *, buffer_bytes: int | None = None
) -> socket.socket:
    """Send a request and leave the response unread."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    if buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    connection.connect((host, int(port)))
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def _wait_for_slots(worker: httpx.Client, *, busy: bool) -> None:
    deadline_s = time.monotonic() + 60
    while (_slots_used(worker) > 0) is not busy:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"The slots did not become {'busy' if busy else 'free'} within a minute.")
        time.sleep(0.01)


def _slots_used(worker: httpx.Client) -> float:
    for line in worker.get("/metrics").text.splitlines():
        if line.startswith("rudolph_kv_slots_used "):
            return float(line.split()[1])
    raise LookupError("The worker does not export rudolph_kv_slots_used.")


@contextmanager
def _server(**environment: str) -> Generator[Server]:
    """Run `rudolph serve` in float32 on one thread, with these settings."""
    with tempfile.TemporaryDirectory(prefix="rudolph-bench-") as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        serve = ["-m", "cli", "serve", "--port", str(port), "--model", str(CHECKPOINT), "--dtype", "float32"]
        environment = {"RUDOLPH_CPU_THREADS": "1"} | environment
        log = Path(folder) / "server.log"
        with python_process([*serve, "--device", "cpu", "--data-dir", folder], log, environment) as process:
            wait_for(f"{url}/health/ready")
            with httpx.Client(base_url=url, timeout=120) as client:
                yield Server(url, process, client)


if __name__ == "__main__":
    main()
