"""`rudolph train image-tokenizer`: from scratch, or from one that this command trained."""

from pathlib import Path
from typing import Annotated

import typer

from cli.train import options


def train(
    data: options.Data,
    output: options.Output,
    init: Annotated[
        Path | None,
        typer.Option("--init", help="Checkpoint folder to start from. Default: train from scratch."),
    ] = None,
    side: Annotated[
        int, typer.Option("--side", min=8, help="Side of the images in pixels, a multiple of 8.")
    ] = 64,
    codes: Annotated[int, typer.Option("--codes", min=2, help="Size of a new codebook.")] = 1024,
    steps: options.Steps = 2000,
    batch: options.Batch = 16,
    learning_rate: options.LearningRate = 1e-3,
    schedule: options.ScheduleOption = options.Schedule.COSINE,
    warm_up: options.WarmUp = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    bf16: options.Bf16 = True,
    save_every: options.SaveEvery = 120.0,
) -> None:
    """Train an image tokenizer, from scratch or from one that this command trained."""
    from training.image_tokenizer_run import ImageTokenizerRun, train_image_tokenizer
    from training.image_tokenizer_trainer import TokenizerTraining
    from training.initialization import small_image_tokenizer
    from training.loop import LoopSettings
    from training.optimizer import OptimizerSettings
    from training.schedule import default_warm_up

    if warm_up is None:
        warm_up = default_warm_up(schedule.value, steps)
    settings = TokenizerTraining(
        total_steps=steps,
        optimizer=OptimizerSettings(learning_rate, warm_up, schedule.value, muon=init is None),
        seed=seed,
        unquantised_steps=0 if init else min(400, steps // 4),
        bf16=bf16,
    )
    run = ImageTokenizerRun(
        data=data,
        output=output,
        loop=LoopSettings(total_steps=steps, save_every_s=save_every, images_per_step=batch),
        batch=batch,
        seed=seed,
        device=options.torch_device(device),
    )
    if init is not None:
        options.require_other_folder(output, init)
    with options.plain_errors():
        train_image_tokenizer(run, settings, init or small_image_tokenizer(side, codes), side)
