"""Programs that a measurement starts, waits for and stops.

Knows processes and ports; measures nothing.
"""

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


@contextmanager
def program(
    arguments: Sequence[str], log: Path, environment: dict[str, str] | None = None
) -> Generator[psutil.Process]:
    """Python with these arguments, without this server's settings in its environment unless one is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUDOLPH_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment or clean, stdout=output, stderr=output
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            if child.is_running():
                child.kill()


def wait_for(url: str) -> None:
    """Until the address answers with 200; TimeoutError where it does not within START_TIMEOUT_S."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{url} does not answer")
        time.sleep(0.05)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
