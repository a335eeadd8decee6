"""`make bench-clients`: what clients that leave, and clients that do not read, cost a running server.

python -m bench.clients [leaving] [readers]; prints the figures and writes `bench/results/clients.json`. Knows
the server from outside only: HTTP, the worker's own metrics, the memory of the API process.
"""

import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.e2e.servers import ROOT, Server, serving

RESULTS = Path(__file__).parent / "results" / "clients.json"
CHECKPOINT = ROOT / "checkpoints" / "demo"
NUM_LEAVERS = 30
NUM_READERS = 1000
RECEIVE_BUFFER_BYTES = 4096
WATCHED_S = 45.0
"""Longer than the write timeout, so that the readers are seen to be cut off."""


def main() -> None:
    wanted = sys.argv[1:] or ["leaving", "readers"]
    figures: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    }
    if "leaving" in wanted:
        figures["leaving"] = {kind: leaving(streams=kind == "stream") for kind in ("request", "stream")}
    if "readers" in wanted:
        figures["readers"] = readers()
    print(json.dumps(figures, indent=2))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def leaving(*, streams: bool) -> dict[str, float]:
    """Seconds from a client's close to the moment its last slot of the engine is free."""
    port = _free_port()
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
    return {
        "clients": len(samples),
        "median_s": round(statistics.median(samples), 3),
        "max_s": round(max(samples), 3),
    }


def readers(count: int = NUM_READERS) -> dict[str, float]:
    """Memory of the API process while `count` clients ask for growing pictures and read none of them."""
    limits = {
        "RUDOLPH_MAX_EVENT_STREAMS": str(count),
        "RUDOLPH_TENANT_MAX_EVENT_STREAMS": str(count),
        "RUDOLPH_TENANT_MAX_JOBS": str(count),
    }
    body = {"prompt": "кот", "n": 4, "partial_images": 16, "stream": True}
    with _server(**limits) as server:
        process = psutil.Process(server.process.pid)
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
    """Send a request and leave the answer unread."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    if buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    connection.connect((host, int(port)))
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def _wait_for_slots(worker: httpx.Client, *, busy: bool) -> None:
    deadline_s = time.monotonic() + 60
    while (_slots_used(worker) > 0) is not busy:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the slots never became {'busy' if busy else 'free'}")
        time.sleep(0.01)


def _slots_used(worker: httpx.Client) -> float:
    for line in worker.get("/metrics").text.splitlines():
        if line.startswith("rudolph_kv_slots_used "):
            return float(line.split()[1])
    raise LookupError("rudolph_kv_slots_used is not exported")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _server(**environment: str) -> Generator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="rudolph-bench-") as place,
        serving(CHECKPOINT, Path(place), **environment) as server,
    ):
        yield server


if __name__ == "__main__":
    main()
