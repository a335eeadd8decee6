"""Private Redis servers for tests: real processes that end with the test."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import redis

from jobs.redis.server_binary import find_server

preferred: ContextVar[Path | None] = ContextVar("preferred", default=None)
"""The server program, if a test chooses one; None for the first that is found."""
_CHOICE = random.SystemRandom()
"""Not the generator that tests seed, because parallel tests must not choose the same ports."""


def free_port() -> int:
    """Return a free port below the range of outgoing connections.

    No connection takes such a port before its server listens. (A client that connects to a port of its own
    range can even connect to itself.)
    """
    while True:
        port = _CHOICE.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """A server that can be killed, frozen and started again on the same data."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binary: Path | None = None,
        configuration: Path | None = None,
        sentinel: bool = False,
        host: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
        **options: str | int,
    ) -> None:
        self.directory = directory or Path(tempfile.mkdtemp(prefix="redis-"))
        self.binary = binary or preferred.get() or find_server().path
        self.port = int(options.pop("port", 0)) or free_port()
        self.configuration = configuration
        self.sentinel = sentinel
        self.host = host
        self.prefix = prefix
        """Words before the command, to run it in a network namespace."""
        data_options = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        self.options: dict[str, str | int] = {
            **({} if sentinel else data_options),
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, extra: Mapping[str, str] | None = None) -> Self:
        options: dict[str, str | int] = {
            "port": self.port,
            "bind": self.host,
            "dir": str(self.directory),
            "logfile": str(self.directory / "server.log"),
            **self.options,
            **(extra or {}),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [
                *self.prefix,
                str(self.binary),
                *([str(self.configuration)] if self.configuration else []),
                *words,
                *(["--sentinel"] if self.sentinel else []),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            self.wait_until_serving()
        except BaseException:
            self.stop()
            raise
        return self

    def wait_until_serving(self, timeout_s: float = 20.0) -> None:
        give_up_at = time.monotonic() + timeout_s
        with self.client() as client:
            while True:
                try:
                    answering: Any = client.info("server")["process_id"]
                    if int(answering) != self.pid:
                        raise RuntimeError(f"process {answering} has port {self.port}, not ours")
                    return
                except (redis.RedisError, OSError):
                    if time.monotonic() > give_up_at:
                        raise
                    time.sleep(0.01)

    def client(self) -> redis.Redis:
        return redis.Redis(
            host=self.host, port=self.port, socket_timeout=5, socket_connect_timeout=1, protocol=2
        )

    def kill(self) -> None:
        """Kill the server with SIGKILL: nothing is flushed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
