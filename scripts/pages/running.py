"""Runs the commands of a page against a server, in order, in a folder that looks like a clone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.pages.blocks import Block, commands
from scripts.pictures.replies import shortened
from scripts.pictures.server import ROOT

ADDRESS = "http://127.0.0.1:8000"
"""The server of all documents."""
PROGRAM = ".venv/bin/rudolph"
TIMEOUT_S = 240.0


class CommandFailed(Exception):
    """A command of a page ended with another exit code than the page states; the message has its output."""


def make_clone(folder: Path) -> Path:
    """Return the folder with the parts of a clone that commands read."""
    for name in ("docs", "checkpoints"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


def run_page(text: str, url: str, folder: Path) -> list[str]:
    """Run the commands of a page in order, and return their outputs. Raises CommandFailed."""
    return [run_block(block, url, folder) for block in commands(text)]


def run_block(block: Block, url: str, folder: Path) -> str:
    """Return the standard output, JSON with one field a line. Raises CommandFailed."""
    code = block.code.replace(ADDRESS, url)
    if block.language == "python":
        command = [sys.executable, "-c", code]
    else:
        code = code.replace("curl http", "curl -sS http").replace(PROGRAM, f"{sys.executable} -m cli")
        command = ["bash", "-ec", code]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUDOLPH_")}
    environment |= {"RUDOLPH_SERVER": url, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    if done.returncode != block.exit_code:
        raise CommandFailed(f"{block.code}exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    shown = done.stdout if block.exit_code == 0 else done.stdout + done.stderr
    return readable(shown.rstrip())


def readable(output: str) -> str:
    """Return JSON indented, with long texts such as images cut; other texts unchanged."""
    try:
        return json.dumps(shortened(json.loads(output)), ensure_ascii=False, indent=2)
    except ValueError:
        return "\n".join(line.rstrip() for line in output.splitlines())
