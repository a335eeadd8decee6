"""Every row of the fault table in its short form. `make chaos` runs the full one."""

from pathlib import Path

import pytest

from jobs.redis.server_binary import installed_servers
from tests.faults.table import ROWS, Row
from tests.support.redis_servers import preferred


def silent(_: str, __: int, ___: int) -> None:
    """No progress to show."""


def _cases() -> list[object]:
    first, *others = [server.path for server in installed_servers()]
    return [
        pytest.param(
            row,
            program,
            id=f"{row.fault.__name__}-{program.name}",
            marks=[pytest.mark.nightly] if row.nightly or program != first else [],
        )
        for row in ROWS
        for program in (first, *(others if row.on_every_server else ()))
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("row", "program"), _cases())
async def test_pass_marks_are_met_with(row: Row, program: Path) -> None:
    if reason := row.why_not():
        pytest.skip(reason)
    preferred.set(program)
    report = await row.fault(row.short, silent)
    assert report.missed == [], report.figures
