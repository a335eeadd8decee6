"""Options of the training commands, and their conversion."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as shared
from cli.console import CliError

if TYPE_CHECKING:
    import torch

    from training.data import Columns
    from training.tasks import TaskData
    from training.transformer_run import TransformerRun
    from training.transformer_trainer import TransformerTraining


class Schedule(StrEnum):
    """Learning rate over the steps."""

    COSINE = "cosine"
    ONE_CYCLE = "one-cycle"
    CONSTANT = "constant"


class Loss(StrEnum):
    """What is trained; see `training/losses.py`."""

    MASKED = "masked"
    REFERENCE = "reference"


class Precision(StrEnum):
    """Number format of the computation."""

    AUTO = "auto"
    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


class OptimizerName(StrEnum):
    """Optimizers for fine-tuning."""

    ADAMW = "adamw"
    ADAMW_8BIT = "adamw8bit"


Data = Annotated[
    Path,
    typer.Argument(
        help="A folder or a file: CSV, TSV, JSON, parquet, tar shards, a .txt for each image, class folders."
    ),
]
Output = Annotated[Path, typer.Argument(help="Folder of the new checkpoint. A stopped run in it resumes.")]
Run = Annotated[Path, typer.Argument(help="Output folder of a run.")]
Steps = Annotated[
    int, typer.Option("--steps", min=1, help="Number of optimizer steps. A finished run may get more.")
]
Epochs = Annotated[
    float | None, typer.Option("--epochs", min=0.0, help="Passes over the data, instead of --steps.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Sequences per step.")]
LearningRate = Annotated[float, typer.Option("--learning-rate", min=0.0, help="Peak learning rate.")]
WarmUp = Annotated[
    int | None,
    typer.Option(
        "--warm-up",
        min=0,
        help="Steps before the peak learning rate. Default: 30 % for one-cycle, else 10 %, at most 100.",
    ),
]
ScheduleOption = Annotated[
    Schedule, typer.Option("--schedule", help="Learning rate schedule after the warm-up.")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Random seed for data order, augmentation and new weights.")
]
Device = shared.Device
SaveEvery = Annotated[
    float,
    typer.Option(
        "--save-every", min=0.0, help="Seconds between saved states. A kill loses at most this much work."
    ),
]
Bf16 = Annotated[bool, typer.Option("--bf16/--no-bf16", help="Mixed precision, if the hardware supports it.")]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="auto: bf16 where the device is fast with it, fp16 with loss scaling on older GPUs, else fp32.",
    ),
]
LossOption = Annotated[
    Loss,
    typer.Option(
        "--loss", help="masked: padding is ignored. reference: the loss of the published packages, exactly."
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(
        "--accumulate", min=1, help="Run each batch in this number of pieces; the step is the same."
    ),
]
Recompute = Annotated[
    bool, typer.Option("--recompute", help="Activation checkpointing: slower, with less memory.")
]
Views = Annotated[
    int | None,
    typer.Option(
        "--views", min=1, help="Encodings of each image; all but the first are slightly shifted and scaled."
    ),
]
SkipBroken = Annotated[
    int,
    typer.Option("--skip-broken", min=0, help="Skip up to this number of images that cannot be decoded."),
]
Validate = Annotated[
    float,
    typer.Option(
        "--validate", min=0.0, max=0.9, help="Share of the examples to hold out and measure, such as 0.05."
    ),
]
Init = Annotated[
    str | None, typer.Option("--init", help="Start from a preset (350M, …) or a checkpoint folder.")
]
Preset = Annotated[
    str | None, typer.Option("--preset", help="Architecture of a checkpoint folder without config.json.")
]
PictureColumn = Annotated[
    str | None, typer.Option("--picture-column", help="Column of the images, if its name is unusual.")
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column of the texts, if its name is unusual.")
]
QuestionColumn = Annotated[
    str | None, typer.Option("--question-column", help="Column of the questions, if its name is unusual.")
]
AnswerColumn = Annotated[
    str | None, typer.Option("--answer-column", help="Column of the answers, if its name is unusual.")
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="Encoding of CSV, TSV and text files. Default: found.")
]


@dataclass(frozen=True)
class ColumnNames:
    """Names of columns that are not found by themselves, and the encoding of tables."""

    picture_column: PictureColumn = None
    text_column: TextColumn = None
    question_column: QuestionColumn = None
    answer_column: AnswerColumn = None
    encoding: Encoding = None

    def columns(self) -> "Columns":
        from training.data import Columns

        return Columns(*astuple(self))


@dataclass(frozen=True)
class Running:
    """Options of every run of the transformer."""

    batch: Batch = 16
    accumulate: Accumulate = 1
    recompute: Recompute = False
    schedule: ScheduleOption = Schedule.ONE_CYCLE
    warm_up: WarmUp = None
    loss: LossOption = Loss.MASKED
    precision: PrecisionOption = Precision.AUTO
    skip_broken: SkipBroken = 0
    validate: Validate = 0.0
    seed: Seed = 0
    device: Device = "auto"
    save_every: SaveEvery = 120.0

    def training(self, steps: int, learning_rate: float, *, eight_bit: bool = False) -> "TransformerTraining":
        """Return the settings of the trainer."""
        from training.optimizer import OptimizerSettings
        from training.transformer_trainer import TransformerTraining

        return TransformerTraining(
            total_steps=steps,
            optimizer=OptimizerSettings(learning_rate, 0, self.schedule.value, eight_bit=eight_bit),
            precision=self.precision.value,
            checkpoint_activations=self.recompute,
            objective=self.loss.value,
            accumulate=self.accumulate,
            seed=self.seed,
        )

    def run(self, steps: int, tasks: "Sequence[TaskData]", output: Path, views: int) -> "TransformerRun":
        """Return the settings of the run."""
        from training.loop import LoopSettings
        from training.transformer_run import TransformerRun

        return TransformerRun(
            tasks=tasks,
            output=output,
            loop=LoopSettings(total_steps=steps, save_every_s=self.save_every, images_per_step=self.batch),
            batch=self.batch,
            seed=self.seed,
            device=torch_device(self.device),
            views=views,
            skip_broken=self.skip_broken,
            validate=self.validate,
            warm_up=self.warm_up,
        )


@contextmanager
def plain_errors() -> Generator[None]:
    """Turn errors that the user can correct into one line."""
    from model.files.checkpoint import CheckpointError
    from training.distributed import leave_processes
    from training.run_folder import Stopped

    is_done = False
    try:
        yield
        is_done = True
    except Stopped as stopped:
        raise CliError(str(stopped), exit_code=stopped.exit_code) from stopped
    # DataError, StateMismatch and settings out of range are ValueErrors, losses that are not finite
    # ArithmeticErrors.
    except (CheckpointError, ValueError, OSError, ArithmeticError) as error:
        raise CliError(str(error)) from error
    finally:
        leave_processes(together=is_done)


def torch_device(name: str) -> "torch.device":
    """Return the device of this name and make it the current one. Raises CliError if it does not exist.

    A process of `torchrun` gets the GPU of its number.
    """
    from workers.gpu import use_device

    local_rank = os.environ.get("LOCAL_RANK")
    try:
        device = use_device(name)
        if device.type == "cuda" and local_rank is not None:
            device = use_device(f"cuda:{local_rank}")
    except RuntimeError as error:
        raise CliError(str(error), exit_code=78) from error
    return device


def require_other_folder(output: Path, start: Path) -> None:
    """Raise CliError if a run would overwrite the checkpoint that it starts from."""
    if output.resolve() == start.resolve():
        raise CliError(f"{output} is the checkpoint that training starts from. Choose another output folder.")
