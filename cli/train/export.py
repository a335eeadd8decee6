"""`rudolph train export`: write the checkpoint of a run from a saved state, also of a stopped run."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import output as console
from cli.train import options


def export(
    run: options.Run,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the checkpoint. Default: that of the run.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best/--last", help="The best measured weights, or those of the last state.")
    ] = False,
) -> None:
    """Write a checkpoint from the last saved state of a run, or from its best measured weights."""
    from training.export import export_run

    with options.plain_errors():
        step = export_run(run, output or run, best=best)
    console.print(f"the checkpoint of step {step} is in {output or run}")
