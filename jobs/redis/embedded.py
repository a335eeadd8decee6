"""The embedded server: a private Redis process on a unix socket, for machines without a Redis.

Its data are stored in a directory that must persist. With the default settings every write is on disk before
it is acknowledged. The server ends with its owner, and is restarted if it ends alone.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from jobs.contract.errors import DataLost, QueueUnavailable
from jobs.redis.data_version import has_data, note_writer, writers_of
from jobs.redis.server_binary import find_server

_MAX_SOCKET_PATH_BYTES = 100
"""Linux allows 108 and macOS 104, with the final zero."""
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_LOCK_TIMEOUT_S = 10.0
_POLL_S = 0.02
_MIN_RESTART_PAUSE_S = 0.05
_MAX_RESTART_PAUSE_S = 2.0
_HEALTHY_AFTER_S = 10.0
# Makes Linux send SIGTERM to the server when its owner ends for any reason, then becomes the server. At
# SIGTERM the server writes its last bytes to disk.
_END_WITH_OWNER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class EmbeddedSettings:
    """Settings of the embedded server."""

    max_memory_bytes: int = 2 << 30
    """Above it submissions are refused; no key is evicted."""
    fsync: str = "always"
    """`always`, or `everysec`: a power cut may then lose the last second."""


class EmbeddedRedis:
    """One server on one directory. `start` works from any thread; `stop` it, or leave the `with` block."""

    def __init__(
        self, settings: EmbeddedSettings | None = None, *, program: str | Path | None = None
    ) -> None:
        """`program`: path or name of the server; None: the first installed one that reads the data."""
        self._settings = settings or EmbeddedSettings()
        self._program = program
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._stopping = threading.Event()
        self._directory = Path()
        self._socket = Path()

    @property
    def pid(self) -> int | None:
        """Process id of the server; None while there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, directory: str | Path) -> str:
        """Start the server on `directory`, which is made if needed. Returns the URL.

        Raises NoServerFits if no server program reads the data; DataLost if the directory once held data and
        they are gone. Raises QueueUnavailable if another server uses the directory, or if the server does not
        start.
        """
        self._directory = Path(directory).expanduser().resolve()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self._directory)
        try:
            _refuse_if_emptied(self._directory)
            server = find_server(
                chosen=self._program, writers=writers_of(self._directory), data=self._directory
            )
            self._socket = _socket_path(self._directory)
            self._stopping.clear()
            # The kernel ends the server with the thread that started it, so that thread must keep running.
            self._keeper = threading.Thread(
                target=self._keep_running, args=(server.path,), name="embedded-redis", daemon=True
            )
            self._keeper.start()
            self._wait_until_serving()
            note_writer(self._directory, server.version)
            _marker(self._directory).touch()
        except BaseException:
            self.stop()
            raise
        return _url(self._socket)

    def stop(self) -> None:
        """Stop the server after its last write is on disk. The data stay."""
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        if self._keeper is not None:
            self._keeper.join(_STOP_TIMEOUT_S)
            if self._keeper.is_alive() and self._process is not None:
                self._process.kill()
                self._keeper.join()
            self._keeper = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _keep_running(self, binary: Path) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            started = time.monotonic()
            self._process = self._spawn(binary)
            if self._stopping.is_set():
                self._process.terminate()
            self._process.wait()
            lived_s = time.monotonic() - started
            pause_s = (
                _MIN_RESTART_PAUSE_S
                if lived_s > _HEALTHY_AFTER_S
                else min(max(_MIN_RESTART_PAUSE_S, pause_s * 2), _MAX_RESTART_PAUSE_S)
            )

    def _spawn(self, binary: Path) -> subprocess.Popen[bytes]:
        assert self._lock is not None
        arguments = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "logfile": str(self._directory / "server.log"),
            "daemonize": "no",
            "save": "",
            # Image files are compressed already.
            "rdbcompression": "no",
            "appendonly": "yes",
            "appendfsync": self._settings.fsync,
            "maxmemory": str(self._settings.max_memory_bytes),
            "maxmemory-policy": "noeviction",
        }
        options = [word for name, value in arguments.items() for word in (f"--{name}", value)]
        # The server inherits the lock, so no other server can use the directory before it has ended.
        return subprocess.Popen(
            [sys.executable, "-ISc", _END_WITH_OWNER, str(os.getpid()), str(binary), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(self._lock.fileno(),),
            start_new_session=True,  # Ctrl-C goes to the owner only, which may still have results to store
        )

    def _wait_until_serving(self) -> None:
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        client = redis.Redis(
            unix_socket_path=str(self._socket), socket_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
        try:
            while True:
                try:
                    client.ping()
                    return
                except (RedisError, OSError) as error:
                    process = self._process
                    ended = process is not None and process.poll() not in (None, 0)
                    if ended or time.monotonic() > give_up_at:
                        raise QueueUnavailable(
                            f"The embedded Redis did not start: {_end_of_log(self._directory)}"
                        ) from error
                    time.sleep(_POLL_S)
        finally:
            client.close()


def running_url(directory: str | Path) -> str | None:
    """Return the URL of the server that a process runs on `directory` now; None if there is none."""
    socket = _socket_path(Path(directory).expanduser().resolve(), make=False)
    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=2.0, retry=Retry(NoBackoff(), 0))
    try:
        client.ping()
    except (RedisError, OSError):
        return None
    finally:
        client.close()
    return _url(socket)


def _url(socket: Path) -> str:
    """Return the URL of a socket, with the characters escaped that have a meaning in a URL."""
    return f"unix://{quote(os.fsencode(socket))}?db=0"


def _lock(directory: Path) -> IO[str]:
    file = open(directory / "lock", "a+", encoding="ascii")  # noqa: SIM115 - held while the server runs
    give_up_at = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                file.seek(0)
                owner = file.read().strip()
                file.close()
                raise QueueUnavailable(
                    f"Another server, started by process {owner or 'unknown'}, uses {directory}. Stop it, or "
                    "choose another directory."
                ) from None
            time.sleep(_POLL_S)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _marker(directory: Path) -> Path:
    return directory / "initialised"


def _refuse_if_emptied(directory: Path) -> None:
    if _marker(directory).exists() and not has_data(directory):
        raise DataLost(
            f"{directory} held the queue's data, and they are gone. Restore them, or delete "
            f"{_marker(directory)} to start with an empty queue."
        )


def _socket_path(directory: Path, *, make: bool = True) -> Path:
    """Return the socket's path: in the directory if the kernel accepts its length, else in a private one."""
    path = directory / "redis.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        return path
    name = f"rudolph-{os.getuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if base is None or not os.path.isdir(base):
            continue
        runtime = Path(base, name)
        path = runtime / "redis.sock"
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
            if not make:
                return path
            runtime.mkdir(mode=0o700, exist_ok=True)
            if runtime.stat().st_uid != os.getuid() or runtime.is_symlink():
                raise QueueUnavailable(
                    f"{runtime} belongs to another user. Remove it or set XDG_RUNTIME_DIR."
                )
            runtime.chmod(0o700)
            return path
    raise QueueUnavailable(
        f"The path of {directory} is too long for a socket, and so are those of the temporary directories. "
        "Choose a shorter path."
    )


def _end_of_log(directory: Path) -> str:
    try:
        lines = (directory / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it wrote no log."
    return " | ".join(lines[-3:])
