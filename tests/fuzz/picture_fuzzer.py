"""Coverage-guided fuzzing of everything that reads pictures: the API's check and the worker's normaliser.

Run as a program it is the Atheris target; `run` starts it, with the hostile corpus as seeds. What must hold
for any bytes: both refuse only by their own errors, and what the API accepts the worker can read.
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.fuzz.corpus import corpus
from tests.support.servers import ROOT

MAX_SEED_BYTES = 20_000
"""Larger files would slow every mutation of theirs; their rules are tested one by one."""
MEMORY_LIMIT_MB = 4096
_COVERED = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+)")


def run(num_runs: int, seed: int, console: Console) -> dict[str, Any]:
    """Fuzz with `num_runs` files; the verdict and how far it came."""
    if importlib.util.find_spec("atheris") is None:
        console.print(
            "[red]Pictures were NOT fuzzed: Atheris is not installed (it needs Linux, x86-64)[/red]"
        )
        return {"passed": True, "skipped": "atheris is not installed"}
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rudolph-pictures-") as place:
        folder = Path(place)
        seeds = write_seeds(folder / "seeds")
        command = [
            sys.executable, "-m", "tests.fuzz.picture_target", f"-runs={num_runs}", f"-seed={seed}",
            f"-artifact_prefix={folder}/", "-max_len=65536", f"-rss_limit_mb={MEMORY_LIMIT_MB}",
            "-timeout=20", "-print_final_stats=1", str(folder / "seeds"),
        ]  # fmt: skip
        lines = _followed(command, num_runs // 20, console)
        crashes = [path.read_bytes().hex() for path in folder.iterdir() if path.is_file()]
    covered = [found for line in lines if (found := _COVERED.match(line))]
    return {
        "passed": not crashes and bool(covered),
        "runs": int(covered[-1][1]) if covered else 0,
        "seeds": seeds,
        "edges_covered": int(covered[-1][2]) if covered else 0,
        "crashing_inputs": crashes,
        "last_lines": [] if covered and not crashes else lines[-40:],
        "wall_s": round(time.monotonic() - started_s, 1),
    }


def write_seeds(folder: Path) -> int:
    folder.mkdir(parents=True)
    small = [case for case in corpus() if len(case.data) <= MAX_SEED_BYTES]
    for case in small:
        (folder / case.name).write_bytes(case.data)
    return len(small)


def _followed(command: list[str], step: int, console: Console) -> list[str]:
    """The program's lines; how far it is is shown every `step` files or so."""
    lines: list[str] = []
    shown = 0
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip())
            if (found := _COVERED.match(line)) and int(found[1]) >= shown + step:
                shown = int(found[1])
                console.print(f"{shown} files, {found[2]} edges covered")
    return lines
