"""`rudolph train tune`: fine-tune a checkpoint for a task, with settings that are known to work."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import CliError
from cli.models import choose_start
from cli.option_groups import with_option_groups
from cli.train import options

if TYPE_CHECKING:
    from training.initialization import Start
    from training.tasks import TaskData

SMALL_MODEL = 50_000_000
"""Parameters below which the recipe for small models is the default."""
SMALL_RATE, PUBLISHED_RATE = 1e-3, 2e-5
DEFAULT_VIEWS = 4


class Task(StrEnum):
    """What a checkpoint is tuned for."""

    CAPTION = "caption"
    DRAW = "draw"
    CLASSIFY = "classify"
    ANSWER = "answer"
    TEXT = "text"
    MIX = "mix"


TaskOption = Annotated[
    Task,
    typer.Option(
        "--task", help="mix: DATA is a TOML file with a table [[task]] for each (see docs/training.md)."
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate",
        min=0.0,
        help="Peak learning rate. Default: 2e-5 as published; 1e-3 below 50 million parameters.",
    ),
]
ValidateEvery = Annotated[
    int, typer.Option("--validate-every", min=0, help="Steps between measurements; 0: a quarter of an epoch.")
]
EarlyStop = Annotated[
    int,
    typer.Option("--early-stop", min=0, help="Stop after this number of measurements without a better loss."),
]
Dropout = Annotated[float, typer.Option("--dropout", min=0.0, max=0.9, help="Published: 0.1.")]
Lora = Annotated[
    int, typer.Option("--lora", min=0, help="Train adapters of this rank instead of all weights; 0: none.")
]
Ema = Annotated[
    float,
    typer.Option("--ema", min=0.0, max=0.99999, help="Decay of a moving average of the weights; 0: none."),
]
Loaders = Annotated[int, typer.Option("--loaders", min=1, help="Threads that read and decode images.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the model. Default: that of the start.")]
Optimizer = Annotated[
    options.OptimizerName, typer.Option("--optimizer", help="adamw8bit stores its moments in 8 bits.")
]
Init = Annotated[str, typer.Option("--init", help="Start from a preset (350M, …) or a checkpoint folder.")]


@with_option_groups
def tune(
    data: options.Data,
    output: options.Output,
    init: Init,
    task: TaskOption,
    columns: options.ColumnNames,
    running: options.Running,
    preset: options.Preset = None,
    steps: options.Steps = 500,
    epochs: options.Epochs = None,
    views: options.Views = None,
    learning_rate: Rate = None,
    dropout: Dropout = 0.0,
    lora: Lora = 0,
    ema: Ema = 0.0,
    optimizer: Optimizer = options.OptimizerName.ADAMW,
    validate_every: ValidateEvery = 0,
    early_stop: EarlyStop = 0,
    name: Name = None,
    loaders: Loaders = 2,
) -> None:
    """Fine-tune a checkpoint for a task. Start the same command again to resume a stopped run."""
    from training.distributed import join_processes
    from training.initialization import from_checkpoint
    from training.transformer_run import train_transformer

    with options.plain_errors():
        tasks = tasks_of(task, data, columns)
        folder, named = choose_start(init)
        options.require_other_folder(output, folder)
        start = from_checkpoint(folder, preset or named)
        rate = learning_rate if learning_rate is not None else _rate(start)
        eight_bit = optimizer is options.OptimizerName.ADAMW_8BIT
        training = running.training(steps, rate, eight_bit=eight_bit)
        run = running.run(steps, tasks, output, views or DEFAULT_VIEWS)
        run = replace(
            run,
            loaders=loaders,
            validate_every=validate_every,
            patience=early_stop,
            epochs=epochs,
            name=name,
            recipe={"init": str(folder.resolve()), "preset": preset or named},
            processes=join_processes(run.device),
        )
        train_transformer(run, replace(training, dropout=dropout, ema=ema, lora_rank=lora), start)


def tasks_of(task: Task, data: Path, columns: options.ColumnNames) -> "list[TaskData]":
    """Return the data of a task, or those of a mix."""
    from training.mix import read_mix
    from training.tasks import TaskData

    if task is Task.MIX:
        if columns != options.ColumnNames():
            raise CliError("A mix names its columns and encodings in its file; remove these options.")
        return read_mix(data)
    return [TaskData(task.value, data, columns=columns.columns())]


def _rate(start: "Start") -> float:
    size = sum(parameter.numel() for parameter in start.transformer.parameters())
    return SMALL_RATE if size < SMALL_MODEL else PUBLISHED_RATE
