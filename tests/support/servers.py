"""Starts and stops real servers: `rudolph serve` on a free port, with its own data."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = f"import sys; sys.path[0] = {str(ROOT)!r}; import cli.main; cli.main.main()"
"""As the console script, which does not import from the current folder either."""
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
READY = re.compile(r"RuDOLPH is ready on (http://\S+)")
SPAWNED = re.compile(r'"pid": (\d+), "event": "worker_spawned"')


class Server:
    """A running `rudolph serve` and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.url = self._wait_until_ready()
        self.client = httpx.Client(base_url=self.url, timeout=120)

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def worker_pids(self) -> list[int]:
        """Process ids of all workers ever started, oldest first."""
        return [int(pid) for pid in SPAWNED.findall(self.text)]

    def wait_for_log(self, words: str, *, times: int = 1, timeout_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self.text.count(words) < times:
            assert time.monotonic() < deadline_s, f"the log never said {words!r}:\n{self.text[-3000:]}"
            time.sleep(0.02)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def _wait_until_ready(self) -> str:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while (ready := READY.search(self.text)) is None:
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the server did not become ready:\n{self.text[-3000:]}")
            time.sleep(0.05)
        return ready.group(1)


@contextmanager
def serving(
    model: Path, place: Path, *options: str, folder: Path = ROOT, **environment: str
) -> Iterator[Server]:
    """Run `rudolph serve` in float32 on one CPU thread; `place` is the folder for its data and log.

    `folder` is the current folder of the process.
    """
    place.mkdir(parents=True, exist_ok=True)
    log = place / "server.log"
    command = [
        sys.executable, "-c", PROGRAM, "serve", "--model", str(model), "--dtype", "float32",
        "--device", "cpu", "--port", "0", "--data-dir", str(place), *options,
    ]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUDOLPH_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=clean | {"RUDOLPH_CPU_THREADS": "1"} | environment,
        )
    server = None
    try:
        server = Server(process, log)
        yield server
    finally:
        if server is not None:
            server.stop()
