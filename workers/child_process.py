"""How a process starts another one of the same code, for workers and for probes of GPUs."""

import os
import site
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (sys.executable, "-P")
"""-P: nothing is imported from the current folder, which may be anyone's."""


def import_path() -> dict[str, str]:
    """Return the variable by which a child imports the same code as this process."""
    if str(ROOT) in site.getsitepackages():
        return {}
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": str(ROOT) if not given else f"{ROOT}{os.pathsep}{given}"}
