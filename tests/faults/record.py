"""The report of a campaign: one JSON file that grows by rows, so that a campaign may be interrupted."""

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from jobs.redis.server_binary import find_server
from tests.faults.fleet import ROOT
from tests.support.redis_servers import preferred

Entry = dict[str, Any]


def read(path: Path) -> dict[str, Entry]:
    """Rows by name, as they were last run; none if there is no report yet."""
    if not path.exists():
        return {}
    return {entry["name"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["faults"]}


def write(path: Path, entries: list[Entry]) -> None:
    """The whole report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"faults": entries}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(path)


def circumstances() -> Entry:
    """When and on what a row runs."""
    return {
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_before": load(),
        "server": server_version(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "revision": _revision(),
    }


def load() -> float:
    """Return the mean number of runnable processes in the last minute."""
    return round(os.getloadavg()[0], 2)


def server_version() -> str:
    """Of the program that the rows start."""
    program = preferred.get() or find_server().path
    output = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True)
    return " ".join(output.stdout.split()[:3])


def _revision() -> str | None:
    """The commit, with a plus if the files differ from it; None outside of a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
