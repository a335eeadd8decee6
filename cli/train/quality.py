"""`rudolph train quality`: how good a served demo checkpoint is."""

from pathlib import Path
from typing import Annotated

import typer

from cli.train import options


def measure(
    server: Annotated[
        str, typer.Option("--server", envvar="RUDOLPH_SERVER", help="URL of a server with the demo.")
    ] = "http://127.0.0.1:8000",
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="The folder that it serves.")] = Path(
        "checkpoints/demo"
    ),
    folder: Annotated[
        Path, typer.Option("--output", help="Receives quality.json and the contact sheet.")
    ] = Path("reports/quality"),
    font: options.Font = options.DEFAULT_FONT,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Emoji a measure.")] = 1000,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests at a time.")] = 8,
    card: Annotated[
        bool, typer.Option("--card", help="Write the figures into the checkpoint's model card.")
    ] = False,
) -> None:
    """Measure a served demo checkpoint over HTTP, and print the table."""
    from shutil import copyfile

    from training import demo_card
    from training import quality as measures

    with options.plain_errors():
        measures.run(server, checkpoint, folder, font=font, sample=sample, concurrency=concurrency)
    if card:
        copyfile(folder / demo_card.FIGURES_FILE, checkpoint / demo_card.FIGURES_FILE)
        demo_card.add_figures(checkpoint)
