"""An API in its own process that measures the stalls of its event loop.

`python -m tests.support.loop_lag REDIS_URL QUEUE` prints its port, and for each line of standard input the
longest stall since the last one, in seconds.
"""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from app.main import create_app
from app.server import server_config
from app.settings import Settings
from telemetry.logging import configure_logging
from tests.support.probes import waited_for_cpu_s
from tests.support.servers import ROOT

PAUSE_S = 0.002


@dataclass
class MeasuredApi:
    """The process, seen from a test."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def longest_stall_s(self) -> float:
        """Return the longest stall since the last call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


@contextmanager
def measured_api(redis_url: str, queue: str) -> Generator[MeasuredApi]:
    command = [sys.executable, "-m", "tests.support.loop_lag", redis_url, queue]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield MeasuredApi(int(process.stdout.readline()), process)
        finally:
            process.terminate()


class _Stalls:
    def __init__(self) -> None:
        self.longest_s = 0.0
        self.num_measured = 0

    async def measure(self) -> None:
        """Sleep for short times, and note how much longer each took. Waits for a CPU are left out."""
        while True:
            started_s, waited_s = time.monotonic(), waited_for_cpu_s("self")
            await asyncio.sleep(PAUSE_S)
            waited_s = waited_for_cpu_s("self") - waited_s
            self.longest_s = max(self.longest_s, time.monotonic() - started_s - PAUSE_S - waited_s)
            self.num_measured += 1

    def report(self) -> None:
        for _ in sys.stdin:
            # A stall that has just ended is still to be measured.
            last = self.num_measured + 2
            while self.num_measured < last:
                time.sleep(PAUSE_S)
            longest_s, self.longest_s = self.longest_s, 0.0
            sys.stdout.write(f"{longest_s}\n")
            sys.stdout.flush()


async def _serve(redis_url: str, queue: str) -> None:
    options = {"redis_url": redis_url, "queue_name": queue, "port": 0, "mcp": True}
    settings = Settings(_env_file=None, **options)  # type: ignore[call-arg, arg-type]
    configure_logging(json=True, stream=sys.stderr)
    server = uvicorn.Server(server_config(create_app(settings), settings))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    stalls = _Stalls()
    measuring = asyncio.create_task(stalls.measure())
    sys.stdout.write(f"{server.servers[0].sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=stalls.report, daemon=True).start()
    await serving
    measuring.cancel()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
