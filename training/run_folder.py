"""The folder of a run: its lock, its identity, signals that stop it, and the room on its disk."""

import json
import shutil
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import filelock

from training.state import DiskFullError, readable, replace_file

STATE_FILE = "state.pt"
BEST_FILE = "best.pt"
RUN_FILE = "run.json"
LOCK_FILE = ".lock"
EXIT_OF = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StateMismatch(ValueError):
    """The state file belongs to another run."""


class Stopped(Exception):
    """A signal stopped the run after its state was saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopRequest:
    """Remembers a signal until the run can save its state."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def error(self, done: str) -> Stopped:
        """Return the exception that ends the run. done: what is saved."""
        number = self.signal or signal.SIGTERM
        return Stopped(
            f"Stopped by {signal.Signals(number).name}. {done} The same command goes on from there.",
            EXIT_OF.get(signal.Signals(number), 128 + number),
        )


@contextmanager
def catch_signals() -> Generator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request to stop. A second signal acts at once."""
    request = StopRequest()
    old = {number: signal.getsignal(number) for number in EXIT_OF}

    def handle(number: int, _frame: FrameType | None) -> None:
        request.signal = number
        for each, handler in old.items():
            signal.signal(each, handler)

    for number in EXIT_OF:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def lock_folder(folder: Path) -> Generator[None]:
    """Lock the folder of a run. Raises ValueError if another process trains in it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK_FILE, timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout:
        message = f"Another process trains in {folder}. Wait for it, or choose another folder."
        raise ValueError(message) from None


def differing(old: str, new: str) -> list[str]:
    """Return the names of the settings that differ between two identities."""
    before, after = _flat(json.loads(old)), _flat(json.loads(new))
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def check_space(folder: Path, *, kept: int, replaced: int) -> None:
    """Raise DiskFullError if a run will not fit on the disk of its folder.

    kept: bytes of all its files at the end. replaced: bytes of the largest file, which exists twice while it
    is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed = max(0, kept - present) + replaced
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(
            f"The run needs {readable(needed)} more in {folder}, and {readable(free)} are free. "
            "Free some space, or choose an output folder on another disk."
        )


def write_run(folder: Path, values: Mapping[str, Any]) -> None:
    """Write what `rudolph train export` needs to know of a run."""
    with replace_file(folder / RUN_FILE) as temporary:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False, default=str), encoding="utf-8")


def read_run(folder: Path) -> dict[str, Any]:
    """Return what `write_run` wrote. Raises ValueError if the folder has no run."""
    path = folder / RUN_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} has no run: {RUN_FILE} is missing.") from None
