"""`rudolph train image-tokenizer`: from scratch, or from one that was made here."""

from pathlib import Path
from typing import Annotated

import typer

from cli.train import options


def train(
    data: options.Data,
    output: options.Output,
    init: Annotated[
        Path | None, typer.Option("--init", help="Checkpoint folder to start from; without it: from scratch.")
    ] = None,
    side: Annotated[
        int, typer.Option("--side", min=8, help="Side of the pictures in pixels, a multiple of 8.")
    ] = 64,
    codes: Annotated[int, typer.Option("--codes", min=2, help="Size of a new codebook.")] = 1024,
    steps: options.Steps = 2000,
    batch: options.Batch = 16,
    learning_rate: options.LearningRate = 1e-3,
    schedule: options.Schedule = options.Schedule.COSINE,
    warm_up: options.WarmUp = 100,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    bf16: options.Bf16 = True,
    save_every: options.SaveEvery = 120.0,
) -> None:
    """Train the image tokenizer, from scratch or from one that `rudolph train` made."""
    from training import fine_tuning
    from training.image_tokenizer_trainer import TokenizerTraining
    from training.loop import LoopSettings
    from training.optimizer import OptimizerSettings
    from training.starts import small_image_tokenizer

    settings = TokenizerTraining(
        total_steps=steps,
        optimizer=OptimizerSettings(learning_rate, warm_up, schedule.value, muon=init is None),
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
        device=options.torch_device(device),
    )
    with options.plain_errors():
        fine_tuning.train_image_tokenizer(run, settings, init or small_image_tokenizer(side, codes), side)
