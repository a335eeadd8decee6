"""`rudolph train`: the image tokenizer or the transformer on your own pictures, and the demo checkpoint.

Knows options; the work is in `training`, imported when a command runs (torch takes seconds).
"""

from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import CliError

if TYPE_CHECKING:
    import torch

app = typer.Typer(help="Train on your own pictures and texts.", no_args_is_help=True)

DEFAULT_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


class FrozenPart(StrEnum):
    """Parts of the transformer that can be left as they are."""

    EMBEDDINGS = "embeddings"
    ATTENTION = "attention"
    MLP = "mlp"
    NORMS = "norms"
    HEAD = "head"


class Schedule(StrEnum):
    """How the learning rate runs."""

    COSINE = "cosine"
    ONE_CYCLE = "one-cycle"
    CONSTANT = "constant"


Data = Annotated[
    Path,
    typer.Argument(
        help="Folder with data.csv, data.jsonl, tar shards, or a .txt beside each picture; or one such file."
    ),
]
Output = Annotated[
    Path, typer.Argument(help="Folder of the new checkpoint; a run that was killed goes on here.")
]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps in all.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Pictures a step.")]
LearningRate = Annotated[float, typer.Option("--learning-rate", min=0.0, help="At its peak.")]
WarmUp = Annotated[int, typer.Option("--warm-up", min=0, help="Steps up to the peak.")]
Seed = Annotated[int, typer.Option("--seed", min=0)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda:N.")]
SaveEvery = Annotated[
    float, typer.Option("--save-every", min=0.0, help="Seconds between states; a kill loses as much.")
]
Bf16 = Annotated[bool, typer.Option("--bf16/--no-bf16", help="Mixed precision where the hardware has it.")]


@app.command("transformer")
def transformer(
    data: Data,
    output: Output,
    init: Annotated[Path, typer.Option("--init", help="Checkpoint folder to start from.")],
    preset: Annotated[
        str | None, typer.Option("--preset", help="Its architecture, if config.json is missing.")
    ] = None,
    freeze: Annotated[
        list[FrozenPart] | None, typer.Option("--freeze", help="Leave a part as it is; repeatable.")
    ] = None,
    steps: Steps = 1000,
    batch: Batch = 16,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="Parts that a batch is run in.")] = 1,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Activation checkpointing: slower, less memory.")
    ] = False,
    views: Annotated[
        int, typer.Option("--views", min=1, help="Encodings of each picture, slightly moved.")
    ] = 1,
    learning_rate: LearningRate = 1e-5,
    schedule: Schedule = Schedule.ONE_CYCLE,
    warm_up: WarmUp = 100,
    left_weight: Annotated[
        float, typer.Option("--left-weight", min=0.0, help="Loss weight of the left text.")
    ] = 1.0,
    image_weight: Annotated[
        float, typer.Option("--image-weight", min=0.0, help="Loss weight of the image.")
    ] = 7.0,
    right_weight: Annotated[
        float, typer.Option("--right-weight", min=0.0, help="Loss weight of the right text.")
    ] = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    bf16: Bf16 = True,
    save_every: SaveEvery = 120.0,
) -> None:
    """Fine-tune the transformer in both directions: pictures from texts and texts from pictures."""
    from training import fine_tuning
    from training.loop import LoopSettings
    from training.optimizer import OptimizerSettings
    from training.sequences import LossWeights
    from training.transformer_trainer import TransformerTraining

    settings = TransformerTraining(
        total_steps=steps,
        optimizer=OptimizerSettings(learning_rate, warm_up, schedule.value),
        bf16=bf16,
        checkpoint_activations=recompute,
        frozen=frozenset(part.value for part in freeze or ()),
    )
    run = fine_tuning.RunSettings(
        data=data,
        output=output,
        loop=LoopSettings(total_steps=steps, save_every_s=save_every),
        batch=batch,
        seed=seed,
        device=_device(device),
        weights=LossWeights(left_weight, image_weight, right_weight),
        accumulate=accumulate,
        views=views,
    )
    with _plain_errors():
        fine_tuning.train_transformer(run, settings, init, preset=preset)


@app.command("image-tokenizer")
def image_tokenizer(
    data: Data,
    output: Output,
    init: Annotated[
        Path | None, typer.Option("--init", help="Checkpoint folder to start from; without it: from scratch.")
    ] = None,
    side: Annotated[
        int, typer.Option("--side", min=8, help="Side of the pictures in pixels, a multiple of 8.")
    ] = 64,
    codes: Annotated[int, typer.Option("--codes", min=2, help="Size of a new codebook.")] = 1024,
    steps: Steps = 2000,
    batch: Batch = 16,
    learning_rate: LearningRate = 1e-3,
    schedule: Schedule = Schedule.COSINE,
    warm_up: WarmUp = 100,
    seed: Seed = 0,
    device: Device = "auto",
    bf16: Bf16 = True,
    save_every: SaveEvery = 120.0,
) -> None:
    """Train the image tokenizer, from scratch or from one that `rudolph train` made."""
    from model.config import VqganConfig
    from training import fine_tuning
    from training.image_tokenizer_trainer import TokenizerTraining
    from training.loop import LoopSettings
    from training.optimizer import OptimizerSettings

    fresh = VqganConfig(
        codebook_size=codes,
        embed_dim=64,
        z_channels=64,
        resolution=side,
        channels=32,
        channel_multipliers=(1, 1, 2, 4),
        num_res_blocks=1,
        attention_resolutions=(side // 8,),
        num_groups=8,
    )
    settings = TokenizerTraining(
        total_steps=steps,
        optimizer=OptimizerSettings(learning_rate, warm_up, schedule.value),
        seed=seed,
        unquantised_steps=0 if init else min(400, steps // 4),
        bf16=bf16,
    )
    run = fine_tuning.RunSettings(
        data=data,
        output=output,
        loop=LoopSettings(total_steps=steps, save_every_s=save_every),
        batch=batch,
        seed=seed,
        device=_device(device),
    )
    with _plain_errors():
        fine_tuning.train_image_tokenizer(run, settings, init or fresh, side)


@app.command("demo")
def demo(
    output: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")] = Path("checkpoints/demo"),
    work: Annotated[
        Path, typer.Option("--work", help="Folder of the run; a killed run goes on here.")
    ] = Path("runs/demo"),
    font: Annotated[Path, typer.Option("--font", help="NotoColorEmoji.ttf")] = DEFAULT_FONT,
) -> None:
    """Make the demo checkpoint from nothing (about an hour on two CPU cores)."""
    from training.recipe import make_demo

    with _plain_errors():
        make_demo(work, output, font=font)


@app.command("quality")
def quality(
    server: Annotated[
        str, typer.Option("--server", envvar="RUDOLPH_SERVER", help="URL of a server with the demo.")
    ] = ("http://127.0.0.1:8000"),
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="The folder that it serves.")] = Path(
        "checkpoints/demo"
    ),
    folder: Annotated[
        Path, typer.Option("--output", help="Receives quality.json and the contact sheet.")
    ] = Path("reports/quality"),
    font: Annotated[Path, typer.Option("--font", help="NotoColorEmoji.ttf")] = DEFAULT_FONT,
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

    with _plain_errors():
        measures.run(server, checkpoint, folder, font=font, sample=sample, concurrency=concurrency)
    if card:
        copyfile(folder / demo_card.FIGURES_FILE, checkpoint / demo_card.FIGURES_FILE)
        demo_card.add_figures(checkpoint)


@contextmanager
def _plain_errors() -> Generator[None]:
    """What a person can put right becomes one line."""
    from model.checkpoint import CheckpointError

    try:
        yield
    # DataError, StateMismatch and settings out of range are ValueErrors; a missing font is an OSError.
    except (CheckpointError, ValueError, OSError) as error:
        raise CliError(str(error)) from error


def _device(name: str) -> "torch.device":
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
