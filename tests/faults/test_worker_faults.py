"""The fault table's rows about workers, in their short form; `make chaos` runs the long one."""

from collections.abc import Awaitable, Callable

import pytest

from tests.faults import worker_faults
from tests.faults.arena import OnProgress, Report, Scale


def silent(_: str, __: int, ___: int) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "scale"),
    [
        (worker_faults.killed_workers, Scale(jobs=500, faults=0)),
        (worker_faults.frozen_workers, Scale(jobs=60, faults=10, lease_s=0.4)),
        (worker_faults.poison_jobs, Scale(jobs=200, faults=0)),
        (worker_faults.hung_steps, Scale(jobs=20, faults=1)),
        (worker_faults.rolling_restart, Scale(jobs=60, faults=4)),
        (worker_faults.wrong_clocks, Scale(jobs=150, faults=0)),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_nothing_is_lost_to(
    fault: Callable[[Scale, OnProgress], Awaitable[Report]], scale: Scale
) -> None:
    report = await fault(scale, silent)
    assert report.missed == [], report.figures
