"""Every row of the fault table in its short form. `make chaos` runs the full one."""

import pytest

from tests.faults.table import ROWS, Row


def silent(_: str, __: int, ___: int) -> None:
    """No progress to show."""


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault.__name__)
async def test_pass_marks_are_met_with(row: Row) -> None:
    report = await row.fault(row.short, silent)
    assert report.missed == [], report.figures
