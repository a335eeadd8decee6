"""A Redis of our own, for machines that have none set up: a private server process on a unix socket.

Its data live in a directory that must persist, and with the default settings every write is on disk before
it is acknowledged. The server ends with its owner, and is started again if it ends alone.
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

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from jobs.errors import DataLost, QueueUnavailable
from jobs.server_binary import find_server

_MAX_SOCKET_PATH_BYTES = 100
"""Linux allows 108 and macOS 104, with the final zero."""
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_LOCK_TIMEOUT_S = 10.0
_POLL_S = 0.02
_FIRST_RESTART_PAUSE_S = 0.05
_MAX_RESTART_PAUSE_S = 2.0
_HEALTHY_AFTER_S = 10.0
# Asks Linux to end the server when its owner ends, however that happens; then becomes the server. SIGTERM
# lets it write its last bytes.
_END_WITH_OWNER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class EmbeddedSettings:
    """How the private server runs."""

    max_memory_bytes: int = 2 << 30
    """Beyond it submissions are refused; nothing is ever evicted."""
    fsync: str = "always"
    """`always`, or `everysec` where a power cut may cost the last second."""


class EmbeddedRedis:
    """One server on one directory. `start` it from any thread; `stop` it, or leave the `with` block."""

    def __init__(self, settings: EmbeddedSettings | None = None, *, binary: Path | None = None) -> None:
        self._settings = settings or EmbeddedSettings()
        self._binary = binary
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._stopping = threading.Event()
        self._directory = Path()
        self._socket = Path()

    @property
    def pid(self) -> int | None:
        """Of the server process, while there is one."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, directory: str | Path) -> str:
        """Serve `directory`, made if needed. Returns the URL.

        Raises QueueUnavailable if no server program is found, if another server has the directory, or if the
        server does not come up; DataLost if the directory once held data and they are gone.
        """
        binary = self._binary or find_server()
        self._directory = Path(directory).expanduser().resolve()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self._directory)
        try:
            _refuse_if_emptied(self._directory)
            self._socket = _socket_path(self._directory)
            self._stopping.clear()
            # The kernel ends the server with the thread that started it, so that thread must stay.
            self._keeper = threading.Thread(
                target=self._keep_running, args=(binary,), name="embedded-redis", daemon=True
            )
            self._keeper.start()
            self._wait_until_serving()
            _marker(self._directory).touch()
        except BaseException:
            self.stop()
            raise
        return f"unix://{self._socket}?db=0"

    def stop(self) -> None:
        """End the server after its last write is on disk; the data stay."""
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
                0.05 if lived_s > _HEALTHY_AFTER_S else min(max(0.05, pause_s * 2), _MAX_RESTART_PAUSE_S)
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
            # Pictures in base64 shrink by nothing.
            "rdbcompression": "no",
            "appendonly": "yes",
            "appendfsync": self._settings.fsync,
            "maxmemory": str(self._settings.max_memory_bytes),
            "maxmemory-policy": "noeviction",
        }
        options = [word for name, value in arguments.items() for word in (f"--{name}", value)]
        # The lock goes with the server: nobody else can have the directory before it has ended.
        return subprocess.Popen(
            [sys.executable, "-ISc", _END_WITH_OWNER, str(os.getpid()), str(binary), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(self._lock.fileno(),),
            start_new_session=True,  # Ctrl-C is for the owner, who may still have results to store
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
                            f"the embedded Redis did not start: {_last_words(self._directory)}"
                        ) from error
                    time.sleep(_POLL_S)
        finally:
            client.close()


def running_url(directory: str | Path) -> str | None:
    """URL of the server that some process runs on `directory` now, if there is one."""
    socket = _socket_path(Path(directory).expanduser().resolve(), make=False)
    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=2.0, retry=Retry(NoBackoff(), 0))
    try:
        client.ping()
    except (RedisError, OSError):
        return None
    finally:
        client.close()
    return f"unix://{socket}?db=0"


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
                    f"another server already uses {directory} (started by process {owner or 'unknown'})"
                ) from None
            time.sleep(_POLL_S)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _marker(directory: Path) -> Path:
    return directory / "initialised"


def _refuse_if_emptied(directory: Path) -> None:
    has_data = (directory / "appendonlydir").exists() or (directory / "appendonly.aof").exists()
    if _marker(directory).exists() and not has_data:
        raise DataLost(
            f"{directory} once held the queue's data, and they are gone; restore them, "
            f"or delete {_marker(directory)} to begin anew"
        )


def _socket_path(directory: Path, *, make: bool = True) -> Path:
    """In the directory if the path is short enough for the kernel, else in a private runtime directory."""
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
                raise QueueUnavailable(f"{runtime} belongs to somebody else")
            runtime.chmod(0o700)
            return path
    raise QueueUnavailable(f"no directory for the socket of {directory} has a short enough path")


def _last_words(directory: Path) -> str:
    try:
        lines = (directory / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return " | ".join(lines[-3:])
