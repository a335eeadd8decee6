"""One measurement, and the table of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

MEASURE_SEED = 20_260_101
"""Different from all seeds of training."""


@dataclass(frozen=True)
class Measure:
    """One row of the table."""

    name: str
    value: float
    unit: str
    count: int
    """Number of samples."""
    must: float | None
    aim: float | None


def print_line(line: Measure) -> None:
    Console(stderr=True).print(f"{line.name}: {line.value} {line.unit}")


def print_table(measures: Sequence[Measure]) -> None:
    """Print the table."""
    table = Table("measure", "must", "aim", "measured", "of")
    for line in measures:
        required, goal = _target(line.must, line.unit), _target(line.aim, line.unit)
        table.add_row(line.name, required, goal, f"{line.value} {line.unit}", str(line.count))
    Console().print(table)


def _target(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value} {unit}"
