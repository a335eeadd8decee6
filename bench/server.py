"""What the server adds to a request: HTTP, queue and commit around an engine that takes no time.

Beside LitServe, which keeps nothing durable, with the same engine, picture and load, in the same run.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import http_load, results
from bench.http_load import Load
from bench.null_worker import noise_file
from bench.programs import free_port, program, wait_for
from jobs.embedded import EmbeddedRedis, EmbeddedSettings

PEERS = Path(sys.prefix) / "peers"
HOW_TO_INSTALL = "sh scripts/install_peers.sh .venv/bin/python .venv/peers"
CONNECTIONS = 64
IDLE_REQUESTS = 400
PROMPT = "кот на синем фоне"


@dataclass(frozen=True)
class Target:
    """A server that runs."""

    port: int
    path: str
    processes: dict[str, psutil.Process]
    """By what they are; children are counted with them."""


def measure(num_requests: int) -> dict[str, Any]:
    """Latency of an idle server and throughput at 64 connections, ours and theirs, as a result document."""
    content = results.document(rows=[], processes={})
    for fsync in ("always", "everysec"):
        with _ours(fsync) as target:
            _add(content, f"this server, {fsync} on disk", target, num_requests)
    if (PEERS / "litserve").is_dir():
        with _litserve() as target:
            _add(content, "LitServe, nothing on disk", target, num_requests)
    else:
        print(f"LitServe is not measured; to install it: {HOW_TO_INSTALL}")
    return content


def _requests(path: str, count: int) -> list[bytes]:
    """Each a request of its own, as clients send them."""
    return [
        http_load.post(path, json.dumps({"prompt": PROMPT, "seed": number}).encode())
        for number in range(count)
    ]


def _add(content: dict[str, Any], name: str, target: Target, num_requests: int) -> None:
    """Load the target; its rows, and the processor's time by process, into the document."""
    port, path, processes = target.port, target.path, target.processes
    http_load.run(port, _requests(path, num_requests // 4), CONNECTIONS)
    idle = http_load.run(port, _requests(path, IDLE_REQUESTS), 1)
    before = {part: _processor_s(process) for part, process in processes.items()}
    own = time.process_time()
    busy = http_load.run(port, _requests(path, num_requests), CONNECTIONS)
    spent = {
        part: (_processor_s(process) - before[part]) / num_requests for part, process in processes.items()
    }
    spent["load generator"] = (time.process_time() - own) / num_requests
    rows = [
        (f"{name}: idle, p50", idle.percentile(0.5) * 1e3, "ms"),
        (f"{name}: idle, p95", idle.percentile(0.95) * 1e3, "ms"),
        (f"{name}: {CONNECTIONS} connections", busy.rate, "requests/s"),
        (f"{name}: {CONNECTIONS} connections, p50", busy.percentile(0.5) * 1e3, "ms"),
    ]
    content["rows"] += [{"name": row, "value": value, "unit": unit} for row, value, unit in rows]
    content["processes"][name] = {
        "processor_ms_a_request": {part: round(value * 1e3, 3) for part, value in spent.items()},
        "body_bytes": busy.body_bytes,
        "idle_latencies_s": _rounded(idle),
        "busy_latencies_s": _rounded(busy),
    }
    parts = "  ".join(f"{part} {value * 1e3:.2f}" for part, value in spent.items())
    print(
        f"  {name:<32} idle p50 {rows[0][1]:6.2f} ms  {busy.rate:8.0f} requests/s"
        f"  processor ms a request: {parts}",
        flush=True,
    )


def _rounded(load: Load) -> list[float]:
    return [round(latency, 5) for latency in load.latencies_s]


def _processor_s(process: psutil.Process) -> float:
    """Of the process and its children."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


@contextmanager
def _ours(fsync: str) -> Generator[Target]:
    with tempfile.TemporaryDirectory() as place, EmbeddedRedis(EmbeddedSettings(fsync=fsync)) as redis:
        url = redis.start(Path(place) / "redis")
        port = free_port()
        serve = ["-m", "cli", "serve", "--workers", "0", "--port", str(port), "--redis-url", url]
        with program(serve, Path(place) / "api.log") as api:
            wait_for(f"http://127.0.0.1:{port}/health/live")
            with program(["-m", "bench.null_worker", url], Path(place) / "worker.log") as worker:
                wait_for(f"http://127.0.0.1:{port}/health/ready")
                assert redis.pid is not None
                parts = {"API": api, "worker": worker, "Redis": psutil.Process(redis.pid)}
                yield Target(port, "/v1/text2image", parts)


@contextmanager
def _litserve() -> Generator[Target]:
    with tempfile.TemporaryDirectory() as place:
        picture, port = Path(place) / "picture.png", free_port()
        picture.write_bytes(noise_file())
        command = [str(Path(__file__).parent / "litserve_program.py"), str(port), str(picture)]
        environment = {**os.environ, "PYTHONPATH": str(PEERS)}
        with program(command, Path(place) / "log", environment) as process:
            wait_for(f"http://127.0.0.1:{port}/health")
            yield Target(port, "/predict", {"server": process})


def ratio(content: dict[str, Any]) -> float | None:
    """Our throughput to theirs; None where theirs is not measured."""
    rates = {row["name"]: row["value"] for row in content["rows"] if row["unit"] == "requests/s"}
    ours = [rate for name, rate in rates.items() if name.startswith("this server, always")]
    theirs = [rate for name, rate in rates.items() if name.startswith("LitServe")]
    return statistics.median(ours) / statistics.median(theirs) if theirs else None
