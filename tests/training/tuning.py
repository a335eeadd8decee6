"""Short runs of the tuning in the process of a test."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from training.initialization import from_checkpoint
from training.loop import LoopSettings
from training.optimizer import OptimizerSettings
from training.tasks import TaskData, TaskName
from training.transformer_run import TransformerRun, train_transformer
from training.transformer_trainer import TransformerTraining


def tune(data: Path, output: Path, tiny: Path, task: TaskName = "caption", **changes: Any) -> str:
    """Tune in this process; a change is one of the run, of its training or of its optimizer."""

    def take(settings: Any) -> Any:
        known = {field.name for field in fields(settings)}
        return replace(settings, **{name: value for name, value in changes.items() if name in known})

    steps = changes.get("total_steps", 6)
    optimizer = take(OptimizerSettings(1e-3, schedule="one-cycle"))
    training = take(TransformerTraining(steps, optimizer, precision="fp32"))
    run = TransformerRun(
        tasks=[TaskData(task, data)],
        output=output,
        loop=LoopSettings(steps),
        batch=4,
        recipe={"init": str(tiny), "preset": None},
    )
    said: list[str] = []
    train_transformer(take(run), training, from_checkpoint(tiny, None), said.append)
    return "\n".join(said)
