"""Every row of the fault table in its short form. `make chaos` runs the full one."""

from pathlib import Path

import pytest

from jobs.server_binary import find_server, packaged_server
from tests.faults.table import ROWS, Row
from tests.jobs.servers import preferred


def silent(_: str, __: int, ___: int) -> None:
    """No progress to show."""


def _cases() -> list[object]:
    found = find_server()
    others = {packaged_server()} - {found, None}
    return [
        pytest.param(row, program, id=f"{row.fault.__name__}-{program.name}")
        for row in ROWS
        for program in (found, *(others if row.on_every_server else ()))
        if program is not None
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("row", "program"), _cases())
async def test_pass_marks_are_met_with(row: Row, program: Path) -> None:
    preferred.set(program)
    report = await row.fault(row.short, silent)
    assert report.missed == [], report.figures
