"""`make chaos`: the whole fault table at full size, with a progress display and a report as JSON.

python -m tests.faults [--short] [--only NAME …] [--resume] [--program FILE] [--report FILE]

The report keeps the latest run of every row, each with its own date, load and duration.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jobs.redis.server_binary import find_server
from tests.faults import record
from tests.faults.record import Entry
from tests.faults.report import OnProgress, Report
from tests.faults.table import ROWS, Row
from tests.support.redis_servers import preferred


def main() -> int:
    options = _parse()
    rows = [row for row in ROWS if not options.only or any(word in row.name for word in options.only)]
    size = "short" if options.short else "full"
    for row in list(rows):
        if reason := row.why_not():
            rows.remove(row)
            sys.stderr.write(f"{row.name} is left out: {reason}.\n")
    preferred.set(options.program)
    known = record.read(options.report)
    console = Console()
    console.print(f"{len(rows)} faults on {record.server_version()}, {os.cpu_count()} processors")
    for row in rows:
        before = known.get(row.name)
        if options.resume and before is not None and before["passed"] and before["size"] == size:
            console.print(f"{row.name}: passed on {before['began']}")
            continue
        known[row.name] = _run(row, size=size, console=console)
        # After each row, so that --resume can continue an interrupted run.
        record.write(options.report, [known[row.name] for row in ROWS if row.name in known])
    _print_all((known[row.name] for row in rows), console)
    console.print(f"report: {options.report}")
    return 0 if all(known[row.name]["passed"] for row in rows) else 1


def _program(name: str) -> Path:
    return find_server(chosen=name).path


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the size that make test-all runs")
    parser.add_argument("--only", nargs="+", default=[], help="rows whose name contains one of these words")
    parser.add_argument("--resume", action="store_true", help="leave out what the report says has passed")
    parser.add_argument("--program", type=_program, help="Redis server to run; default: the packaged one")
    parser.add_argument("--report", type=Path, default=Path("reports/chaos.json"))
    options = parser.parse_args()
    if options.only and not any(word in row.name for row in ROWS for word in options.only):
        parser.error(f"no such row; there are: {', '.join(row.name for row in ROWS)}")
    return options


def _run(row: Row, *, size: str, console: Console) -> Entry:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    circumstances = record.circumstances()
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        bar = display.add_task(row.name, total=None)

        def show(phase: str, done: int, total: int) -> None:
            display.update(bar, description=f"{row.name}: {phase}", completed=done, total=total or None)

        report = _judge(row, size, show)
    wall_s = time.monotonic() - started
    _print(row, report, wall_s, console)
    return {
        "name": row.name,
        "description": row.description,
        "size": size,
        **circumstances,
        "load_after": record.load(),
        "wall_s": round(wall_s, 1),
        "passed": not report.missed,
        "missed": report.missed,
        **report.summary(),
        "figures": report.figures,
    }


def _judge(row: Row, size: str, show: OnProgress) -> Report:
    try:
        return asyncio.run(row.fault(row.short if size == "short" else row.full, show))
    except Exception as error:  # one broken row must not hide the others
        return Report(missed=[f"the test itself broke: {type(error).__name__}: {error}"])


def _print(row: Row, report: Report, wall_s: float, console: Console) -> None:
    verdict = "[red]missed[/red]" if report.missed else "[green]passed[/green]"
    table = Table(title=f"{row.name}: {verdict} in {wall_s:.0f} s", title_justify="left", show_header=False)
    for name, value in {**report.summary(), **report.figures}.items():
        if value is not None:
            table.add_row(name, f"{value:g}")
    for sentence in report.missed:
        table.add_row("[red]missed[/red]", sentence)
    console.print(table)


def _print_all(entries: Iterable[Entry], console: Console) -> None:
    names = ("accepted", "completed", "duplicates", "lost", "recovery_p50_s", "recovery_p99_s", "wall_s")
    table = Table("fault", "size", *(name.removesuffix("_s").replace("_", " ") for name in names), "marks")
    for entry in entries:
        cells = ["–" if entry[name] is None else f"{entry[name]:g}" for name in names]
        marks = "[green]met[/green]" if entry["passed"] else "[red]missed[/red]"
        table.add_row(entry["name"], entry["size"], *cells, marks)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
