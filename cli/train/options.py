"""Options that the training commands share, and what they become."""

from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import CliError

if TYPE_CHECKING:
    import torch

DEFAULT_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


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
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the order, the views and fresh weights.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda:N.")]
SaveEvery = Annotated[
    float, typer.Option("--save-every", min=0.0, help="Seconds between states; a kill loses as much.")
]
Bf16 = Annotated[bool, typer.Option("--bf16/--no-bf16", help="Mixed precision where the hardware has it.")]
Font = Annotated[Path, typer.Option("--font", help="NotoColorEmoji.ttf")]


@contextmanager
def plain_errors() -> Generator[None]:
    """What a person can put right becomes one line."""
    from model.checkpoint import CheckpointError

    try:
        yield
    # DataError, StateMismatch and settings out of range are ValueErrors; a missing font is an OSError.
    except (CheckpointError, ValueError, OSError) as error:
        raise CliError(str(error)) from error


def torch_device(name: str) -> "torch.device":
    """The device that a name means here."""
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
