"""`python -m bench`, or `make bench`: model and engine beside the published package on this processor."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cpu import RESULTS, measure, save, show


def main(
    quick: Annotated[bool, typer.Option(help="A toy shape, to see that everything runs.")] = False,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    repeats: Annotated[int, typer.Option(min=1, help="Counted runs of ours; the package runs once.")] = 3,
    output: Annotated[Path | None, typer.Option(help="Where the JSON goes.")] = None,
) -> None:
    """Measure, print the table of ratios, and write the raw samples."""
    rows = measure(quick=quick, dtype_name=dtype, repeats=repeats)
    show(rows, dtype)
    if output is not None or not quick:
        save(rows, output or RESULTS / "cpu.json", dtype)


if __name__ == "__main__":
    typer.run(main)
