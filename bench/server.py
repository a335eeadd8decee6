"""The server's share of a request: HTTP, queue and commit around an engine that takes no time.

The baseline is LitServe, which stores nothing, with the same engine, image and load in the same run.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bench import http_load, results
from bench.null_worker import noise_file
from bench.processes import free_port, python_process, wait_for
from jobs.redis.embedded import EmbeddedRedis, EmbeddedSettings

LITSERVE = Path(sys.prefix) / "litserve"
HOW_TO_INSTALL = "sh scripts/install_run_litserve.sh .venv/bin/python .venv/litserve"
CONNECTIONS = 64
IDLE_REQUESTS = 400
PROMPT = "кот на синем фоне"


@dataclass(frozen=True)
class Target:
    """A running server."""

    port: int
    path: str
    processes: dict[str, psutil.Process]
    """Its processes by role; children are counted with them."""


def measure(num_requests: int, rounds: int) -> dict[str, Any]:
    """Return latency of an idle server and throughput at 64 connections, for both, as a result document.

    The servers take turns, and each figure is the median of its rounds, because the speed of a machine
    changes within minutes.
    """
    targets: dict[str, Callable[[], AbstractContextManager[Target]]] = {
        f"this server, {fsync} on disk": partial(_run_ours, fsync) for fsync in ("always", "everysec")
    }
    if (LITSERVE / "litserve").is_dir():
        targets["LitServe, nothing on disk"] = _run_litserve
    else:
        print(f"LitServe is not installed, so it is not measured. Run: {HOW_TO_INSTALL}")
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, start in targets.items():
            with start() as target:
                taken[name].append(_take(name, target, num_requests))
    rows = [
        {
            "name": f"{name}: {what}",
            "value": statistics.median(one["figures"][what][0] for one in all_of),
            "unit": unit,
        }
        for name, all_of in taken.items()
        for what, (_, unit) in all_of[0]["figures"].items()
    ]
    return results.document(rows=rows, rounds=taken)


def _requests(path: str, count: int) -> list[bytes]:
    """Distinct requests, as clients send them."""
    return [
        http_load.post(path, json.dumps({"prompt": PROMPT, "seed": number}).encode())
        for number in range(count)
    ]


def _take(name: str, target: Target, num_requests: int) -> dict[str, Any]:
    """Load the target; return its figures with units, processor time by process, and quantiles of latency."""
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
    parts = "  ".join(f"{part} {value * 1e3:.2f}" for part, value in spent.items())
    print(
        f"  {name:<32} idle p50 {idle.percentile(0.5) * 1e3:6.2f} ms  {busy.rate:8.0f} requests/s"
        f"  processor ms per request: {parts}",
        flush=True,
    )
    return {
        "figures": {
            "idle, p50": (idle.percentile(0.5) * 1e3, "ms"),
            "idle, p95": (idle.percentile(0.95) * 1e3, "ms"),
            f"{CONNECTIONS} connections": (busy.rate, "requests/s"),
            f"{CONNECTIONS} connections, p50": (busy.percentile(0.5) * 1e3, "ms"),
        },
        "processor_ms_per_request": {part: round(value * 1e3, 3) for part, value in spent.items()},
        "body_bytes": busy.body_bytes,
        "idle_s": results.quantiles(idle.latencies_s, 5),
        "busy_s": results.quantiles(busy.latencies_s, 5),
    }


def _processor_s(process: psutil.Process) -> float:
    """Processor seconds of the process and its children."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


@contextmanager
def _run_ours(fsync: str) -> Generator[Target]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(EmbeddedSettings(fsync=fsync)) as redis:
        url = redis.start(Path(folder) / "redis")
        port = free_port()
        serve = ["-m", "cli", "serve", "--workers", "0", "--port", str(port), "--redis-url", url]
        with python_process(serve, Path(folder) / "api.log") as api:
            wait_for(f"http://127.0.0.1:{port}/health/live")
            with python_process(["-m", "bench.null_worker", url], Path(folder) / "worker.log") as worker:
                wait_for(f"http://127.0.0.1:{port}/health/ready")
                assert redis.pid is not None
                parts = {"API": api, "worker": worker, "Redis": psutil.Process(redis.pid)}
                yield Target(port, "/v1/text2image", parts)


@contextmanager
def _run_litserve() -> Generator[Target]:
    with tempfile.TemporaryDirectory() as folder:
        image, port = Path(folder) / "image.png", free_port()
        image.write_bytes(noise_file())
        command = [str(Path(__file__).parent / "litserve_server.py"), str(port), str(image)]
        environment = {"PYTHONPATH": str(LITSERVE)}
        with python_process(command, Path(folder) / "log", environment) as process:
            wait_for(f"http://127.0.0.1:{port}/health")
            yield Target(port, "/predict", {"server": process})


def ratio(content: dict[str, Any]) -> float | None:
    """Return our throughput divided by LitServe's, median of the rounds; None where it was not measured."""
    rounds: dict[str, list[dict[str, Any]]] = content["rounds"]

    def rates(beginning: str) -> list[float]:
        return [
            one["figures"][f"{CONNECTIONS} connections"][0]
            for name, all_of in rounds.items()
            if name.startswith(beginning)
            for one in all_of
        ]

    pairs = zip(rates("this server, always"), rates("LitServe"), strict=False)
    ratios = [ours / theirs for ours, theirs in pairs]
    return statistics.median(ratios) if ratios else None
