"""Makes the demo checkpoint or measures it: `python -m examples.demo_checkpoint make | quality`."""

import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Annotated

import typer

from examples.demo_checkpoint import card as model_card
from examples.demo_checkpoint import quality as measurement
from examples.demo_checkpoint.images import DEFAULT_FONT
from examples.demo_checkpoint.recipe import make_demo

CHECKPOINT = Path("checkpoints/demo")

app = typer.Typer(help="Make the demo checkpoint, or measure a served one.", add_completion=False)
Font = Annotated[Path, typer.Option("--font", help="File of the font Noto Color Emoji.")]


@app.command()
def make(
    output: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")] = CHECKPOINT,
    work: Annotated[Path, typer.Option("--work", help="Folder of the run; a stopped run resumes.")] = Path(
        "runs/demo"
    ),
    font: Font = DEFAULT_FONT,
) -> None:
    """Train the demo checkpoint from nothing. A stopped run resumes at its last saved state."""
    _run(lambda: make_demo(work, output, font=font))


@app.command()
def quality(  # noqa: PLR0917 - an argument for each option
    server: Annotated[
        str,
        typer.Option("--server", envvar="RUDOLPH_SERVER", help="URL of a server with the demo."),
    ] = "http://127.0.0.1:8000",
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", help="Folder of the checkpoint that it serves.")
    ] = CHECKPOINT,
    folder: Annotated[
        Path, typer.Option("--output", help="Folder for quality.json and the contact sheet.")
    ] = Path("reports/quality"),
    font: Font = DEFAULT_FONT,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Emoji per figure.")] = 1000,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Concurrent requests.")] = 8,
    card: Annotated[
        bool, typer.Option("--card", help="Write the figures into the model card of the checkpoint.")
    ] = False,
) -> None:
    """Measure a served demo checkpoint over HTTP, and print the table."""
    _run(
        lambda: measurement.run(server, checkpoint, folder, font=font, sample=sample, concurrency=concurrency)
    )
    if card:
        copyfile(folder / model_card.FIGURES_FILE, checkpoint / model_card.FIGURES_FILE)
        model_card.add_figures(checkpoint)


def _run(action: Callable[[], object]) -> None:
    """Run an action; print errors that the user can correct as one line."""
    try:
        action()
    # Errors of checkpoints and settings are ValueErrors; a missing font or file is an OSError.
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
