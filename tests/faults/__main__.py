"""`make chaos`: the whole fault table at full size, with a progress display and a report as JSON.

python -m tests.faults [--short] [--only NAME …] [--report FILE]
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.server_binary import find_server
from tests.faults.arena import Report
from tests.faults.table import ROWS, Row


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the size that make test runs")
    parser.add_argument("--only", nargs="+", default=[], help="rows whose name contains one of these words")
    parser.add_argument("--report", type=Path, default=Path("reports/chaos.json"))
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.only or any(word in row.name for word in options.only)]
    if not rows:
        parser.error(f"no such row; there are: {', '.join(row.name for row in ROWS)}")
    console = Console()
    console.print(f"{len(rows)} faults on {_server_version()}, {os.cpu_count()} processors")
    entries = [_run(row, short=options.short, console=console) for row in rows]
    options.report.parent.mkdir(parents=True, exist_ok=True)
    summary = {
        "server": _server_version(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "size": "short" if options.short else "full",
        "faults": entries,
    }
    options.report.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(f"report: {options.report}")
    return 0 if all(entry["passed"] for entry in entries) else 1


def _run(row: Row, *, short: bool, console: Console) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        bar = display.add_task(row.name, total=None)

        def show(phase: str, done: int, total: int) -> None:
            display.update(bar, description=f"{row.name}: {phase}", completed=done, total=total or None)

        report = _judge(row, short, show)
    wall_s = time.monotonic() - started
    _print(row, report, wall_s, console)
    return {
        "name": row.name,
        "description": row.description,
        "passed": not report.missed,
        "missed": report.missed,
        "figures": report.figures,
        "wall_s": round(wall_s, 1),
    }


def _judge(row: Row, short: bool, show: Any) -> Report:
    try:
        return asyncio.run(row.fault(row.short if short else row.full, show))
    except Exception as error:  # one broken row must not hide the others
        return Report(missed=[f"the test itself broke: {type(error).__name__}: {error}"])


def _print(row: Row, report: Report, wall_s: float, console: Console) -> None:
    verdict = "[red]missed[/red]" if report.missed else "[green]passed[/green]"
    table = Table(title=f"{row.name}: {verdict} in {wall_s:.0f} s", title_justify="left", show_header=False)
    for name, value in report.figures.items():
        table.add_row(name, f"{value:g}")
    for sentence in report.missed:
        table.add_row("[red]missed[/red]", sentence)
    console.print(table)


def _server_version() -> str:
    output = subprocess.run([str(find_server()), "--version"], capture_output=True, text=True, check=True)
    return " ".join(output.stdout.split()[:3])


if __name__ == "__main__":
    sys.exit(main())
