"""Starts, awaits and stops the processes of a benchmark. Measures nothing."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05


@contextmanager
def python_process(
    arguments: Sequence[str], log: Path, environment: dict[str, str] | None = None
) -> Generator[psutil.Process]:
    """Run Python with these arguments; end it and its children after the block.

    environment: variables added to the current ones, from which all `RUDOLPH_…` settings are removed.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUDOLPH_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=clean | (environment or {}),
            stdout=output,
            stderr=output,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            if child.is_running():
                child.kill()


def wait_for(url: str) -> None:
    """Return once the URL responds with 200. Raises TimeoutError after START_TIMEOUT_S."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{url} does not respond.")
        time.sleep(POLL_S)


def free_port() -> int:
    """Return a port of this machine on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
