"""What the server adds to a request: HTTP, queue and commit around an engine that takes no time.

Beside LitServe, which keeps nothing durable, with the same engine, picture and load, in the same run.
"""

import json
import os
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


def measure(num_requests: int, rounds: int) -> dict[str, Any]:
    """Latency of an idle server and throughput at 64 connections, ours and theirs, as a result document.

    The servers take turns, and each figure is the median of its rounds: a machine's speed changes by the
    minute.
    """
    targets: dict[str, Callable[[], AbstractContextManager[Target]]] = {
        f"this server, {fsync} on disk": partial(_ours, fsync) for fsync in ("always", "everysec")
    }
    if (PEERS / "litserve").is_dir():
        targets["LitServe, nothing on disk"] = _litserve
    else:
        print(f"LitServe is not measured; to install it: {HOW_TO_INSTALL}")
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
    """Each a request of its own, as clients send them."""
    return [
        http_load.post(path, json.dumps({"prompt": PROMPT, "seed": number}).encode())
        for number in range(count)
    ]


def _take(name: str, target: Target, num_requests: int) -> dict[str, Any]:
    """Load the target: its figures with their units, the processor's time by process, and the raw samples."""
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
        f"  processor ms a request: {parts}",
        flush=True,
    )
    return {
        "figures": {
            "idle, p50": (idle.percentile(0.5) * 1e3, "ms"),
            "idle, p95": (idle.percentile(0.95) * 1e3, "ms"),
            f"{CONNECTIONS} connections": (busy.rate, "requests/s"),
            f"{CONNECTIONS} connections, p50": (busy.percentile(0.5) * 1e3, "ms"),
        },
        "processor_ms_a_request": {part: round(value * 1e3, 3) for part, value in spent.items()},
        "body_bytes": busy.body_bytes,
        "idle_latencies_s": _rounded(idle),
        "busy_latencies_s": _rounded(busy),
    }


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
    """Our throughput to theirs, the median of the rounds; None where theirs is not measured."""
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
