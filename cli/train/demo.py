"""`rudolph train demo`: the demo checkpoint from nothing."""

from pathlib import Path
from typing import Annotated

import typer

from cli.train import options


def make(
    output: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")] = Path("checkpoints/demo"),
    work: Annotated[
        Path, typer.Option("--work", help="Folder of the run; a killed run goes on here.")
    ] = Path("runs/demo"),
    font: options.Font = options.DEFAULT_FONT,
) -> None:
    """Make the demo checkpoint from nothing; a killed run goes on where it was."""
    from training.recipe import make_demo

    with options.plain_errors():
        make_demo(work, output, font=font)
