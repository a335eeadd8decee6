"""Starts programs that listen on a port, such as a reverse proxy."""

import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def started(command: list[str], port: int) -> Generator[None]:
    """Run the command, from when it listens on the port until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)
