"""Makes the larger demo checkpoint or measures it: `python -m examples.demo_scenes make | quality`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Annotated

import torch
import typer

from examples.demo_checkpoint.card import FIGURES_FILE
from examples.demo_scenes import card as model_card
from examples.demo_scenes import measuring
from examples.demo_scenes.drawing import Cast
from examples.demo_scenes.generation import set_probability_temperatures
from examples.demo_scenes.recipe import FULL_MINUTES, Recipe, make_scenes
from examples.demo_scenes.sets import load_sprites
from examples.demo_scenes.things import load_things

CHECKPOINT = Path("runs/scenes/checkpoint")
WORK = Path("runs/scenes")

app = typer.Typer(help="Make the larger demo checkpoint, or measure a served one.", add_completion=False)
Work = Annotated[
    Path, typer.Option("--work", help="Folder of the run and of the packages; a stopped run resumes.")
]
Things = Annotated[
    int | None, typer.Option("--things", min=2, help="Number of things; all by default. For trials.")
]


@app.command()
def make(
    output: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")] = CHECKPOINT,
    work: Work = WORK,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="Length of the run on two cores; scales all steps.")
    ] = FULL_MINUTES,
    things: Things = None,
    device: Annotated[str, typer.Option("--device", help="cpu, or cuda for a GPU.")] = "cpu",
) -> None:
    """Train the checkpoint from nothing. A stopped run resumes at its last saved state."""
    recipe = Recipe(num_things=things).within(minutes)
    _run(lambda: make_scenes(work, output, recipe, device=torch.device(device)))


@app.command()
def quality(  # noqa: PLR0917 - an argument for each option
    server: Annotated[
        str, typer.Option("--server", envvar="RUDOLPH_SERVER", help="URL of a server with the checkpoint.")
    ] = "http://127.0.0.1:8000",
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", help="Folder of the checkpoint that it serves.")
    ] = CHECKPOINT,
    folder: Annotated[
        Path, typer.Option("--output", help="Folder for quality.json and the contact sheet.")
    ] = Path("reports/scenes"),
    work: Work = WORK,
    things: Things = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Prompts per figure.")] = 300,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Concurrent requests.")] = 8,
    card: Annotated[
        bool, typer.Option("--card", help="Write the figures into the model card of the checkpoint.")
    ] = False,
) -> None:
    """Measure a served checkpoint over HTTP, and print the table."""

    def measure() -> None:
        known = load_things(things)
        cast = Cast(known, load_sprites(known, work))
        measuring.run(server, checkpoint, folder, cast, sample=sample, concurrency=concurrency)
        if card:
            for name in (FIGURES_FILE, model_card.FAILURES_FILE):
                copyfile(folder / name, checkpoint / name)
            model_card.add_figures(checkpoint)
            temperatures = json.loads((folder / measuring.TEMPERATURES_FILE).read_text(encoding="utf-8"))
            set_probability_temperatures(checkpoint, temperatures)

    _run(measure)


def _run(action: Callable[[], object]) -> None:
    """Run an action; print errors that the user can correct as one line."""
    try:
        action()
    # Errors of checkpoints and settings are ValueErrors; missing packages and files are OSErrors.
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
