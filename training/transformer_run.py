"""Trains the transformer on data sets of one or more tasks, and writes a checkpoint folder.

Knows folders and settings. The trainer knows steps and losses.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from training.corpus import report_texts
from training.dataset import TaskDataSet, load_data
from training.distributed import ALONE, Processes
from training.encoding import CodeStore, EncodeSettings
from training.export import export_run
from training.generation import example_bodies
from training.initialization import Start
from training.loop import LoopSettings, Validation, run_loop
from training.mixture import Mixture
from training.run_folder import check_space, lock_folder, write_run
from training.samples import draw_prompts
from training.schedule import default_warm_up
from training.sequences import RowBuilder, check_answers
from training.tasks import TaskData
from training.transformer_trainer import TransformerTrainer, TransformerTraining
from training.validation import Validator

CPU = torch.device("cpu")
SHEET_PROMPTS = 8
CODES_FOLDER = "codes"


@dataclass(frozen=True)
class TransformerRun:
    """Settings of a run, besides those of the trainer."""

    tasks: Sequence[TaskData]
    output: Path
    """Folder of the checkpoint; its folder `training` has the state, logs and sheets of the run."""
    loop: LoopSettings
    batch: int = 16
    seed: int = 0
    device: torch.device = CPU
    unconditional_share: float = 0.1
    """Sequences without a prompt per sequence that draws, for guidance."""
    views: int = 1
    """Encodings of each image: the image itself, and slightly moved copies."""
    skip_broken: int = 0
    loaders: int = 2
    validate: float = 0.0
    """Share of the examples that are held out, if the data set has no validation split; 0: none."""
    validate_every: int = 0
    """Steps between measurements; 0: a quarter of an epoch."""
    patience: int = 0
    """Measurements without a better loss after which the run stops; 0: never."""
    epochs: float | None = None
    """Passes over the data, instead of a number of steps."""
    name: str | None = None
    """Name of the new model; None: that of the start."""
    warm_up: int | None = None
    """Steps before the peak learning rate; None: by the schedule and the number of steps."""
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    """Where the start comes from, for `rudolph train export`."""
    processes: Processes = ALONE

    @property
    def work(self) -> Path:
        return self.output / "training"


def train_transformer(
    run: TransformerRun,
    settings: TransformerTraining,
    start: Start,
    report: Callable[[str], None] = print,
) -> None:
    """Train, measure, and write a checkpoint folder.

    Raises DataError for data that cannot be used, StateMismatch for a state of other data or settings, and
    Stopped after a signal.
    """
    if any(task.task == "answer" for task in run.tasks):
        check_answers(start.transformer.config)
    if not run.processes.is_first:
        run.processes.wait()  # the first process encodes
        _train(run, settings, start, lambda _text: None)
        return
    with lock_folder(run.work):
        _train(run, settings, start, report)


def _train(
    run: TransformerRun, settings: TransformerTraining, start: Start, report: Callable[[str], None]
) -> None:
    data = load_data(
        run.tasks,
        start,
        CodeStore(run.work / CODES_FOLDER, [start.image_identity, run.views, run.seed]),
        EncodeSettings(start.input_side, run.views, run.seed, run.skip_broken, run.loaders),
        validate=run.validate,
        device=run.device,
        report=report,
    )
    if run.processes.is_first:
        report_texts(start, data.training, report)
        run.processes.wait()
    run, settings = _with_steps(run, settings, data)
    _check_room(run, settings, start, is_measured=bool(data.validation))
    transformer = start.transformer.requires_grad_(True).to(run.device)
    builder = RowBuilder(transformer.config, start.text_tokenizer)
    batches = Mixture(
        data.training,
        builder,
        batch=run.batch,
        seed=run.seed,
        unconditional_share=run.unconditional_share,
    )
    prompts = data.texts()[:SHEET_PROMPTS]
    draws = any(source.data.task == "draw" for source in data.training)

    def draw(path: Path) -> None:
        draw_prompts(path, transformer, start.image_tokenizer, builder, prompts)

    trainer = TransformerTrainer(
        transformer, batches, settings, draw=draw if draws else None, processes=run.processes
    )
    validation = _validation(run, settings, start, data, trainer)
    finished = run_loop(
        trainer,
        run.work,
        run.loop,
        _identity(run, settings, start, data),
        report,
        validation=validation,
        processes=run.processes,
        device=run.device,
        on_start=lambda: write_run(run.work, _describe(run, settings, start, data)),
    )
    if finished and run.processes.is_first:
        step = export_run(run.output, run.output, best=validation is not None)
        if validation is not None:
            report(f"the checkpoint has the weights of step {step}, which had the best validation loss")


def _with_steps(
    run: TransformerRun, settings: TransformerTraining, data: TaskDataSet
) -> tuple[TransformerRun, TransformerTraining]:
    """Turn epochs into steps, and choose the warm-up."""
    steps = run.loop.total_steps
    if run.epochs is not None:
        steps = max(1, -(-round(run.epochs * data.count) // run.batch))
    warm_up = run.warm_up
    if warm_up is None:
        warm_up = default_warm_up(settings.optimizer.schedule, steps)
    if warm_up >= steps:
        raise ValueError(f"--warm-up {warm_up} must be less than the {steps} steps of the run.")
    optimizer = replace(settings.optimizer, warm_up_steps=warm_up)
    loop = replace(run.loop, total_steps=steps)
    return replace(run, loop=loop), replace(settings, total_steps=steps, optimizer=optimizer)


def _validation(
    run: TransformerRun,
    settings: TransformerTraining,
    start: Start,
    data: TaskDataSet,
    trainer: TransformerTrainer,
) -> Validation | None:
    if not data.validation:
        if run.patience:
            raise ValueError("--early-stop needs measurements. Add --validate 0.05.")
        return None
    measure = Validator(
        trainer.transformer,
        start.text_tokenizer,
        data.validation,
        settings.objective,
        settings.precision,
        run.processes,
        trainer.weights if settings.ema else None,
    )
    every = run.validate_every or max(1, data.count // run.batch // 4)
    return Validation(measure, trainer.weights, every, run.patience)


def _identity(
    run: TransformerRun, settings: TransformerTraining, start: Start, data: TaskDataSet
) -> dict[str, Any]:
    """Return everything that the weights depend on but the number of steps, which may grow."""
    tasks = [
        {"task": task.task, "share": task.share, "weights": asdict(task.loss_weights), "data": digest}
        | {"text_weights": asdict(task.text_weights)}
        for task, digest in zip(run.tasks, data.digests, strict=True)
    ]
    values: dict[str, Any] = asdict(settings) | {"frozen": sorted(settings.frozen)}
    del values["total_steps"]
    values["optimizer"]["warm_up_steps"] = run.warm_up
    return {
        "start": start.identity,
        "data": {str(index): task for index, task in enumerate(tasks)},
        "training": values,
        "batch": run.batch,
        "seed": run.seed,
        "views": run.views,
        "unconditional_share": run.unconditional_share,
        "validate": run.validate,
    }


def _check_room(
    run: TransformerRun, settings: TransformerTraining, start: Start, *, is_measured: bool
) -> None:
    """Check the disk before the first step: state, best weights and checkpoint."""
    if not run.processes.is_first:
        return
    weights = sum(parameter.numel() for parameter in start.transformer.parameters())
    tokenizer = sum(parameter.numel() for parameter in start.image_tokenizer.parameters())
    # float32: weights and two moments, and the moving average.
    state = weights * 4 * (3 + bool(settings.ema)) if not settings.lora_rank else weights
    best = weights * 4 if is_measured and not settings.lora_rank else 0
    check_space(run.output, kept=state + best + 2 * (weights + tokenizer), replaced=state)


def _describe(
    run: TransformerRun, settings: TransformerTraining, start: Start, data: TaskDataSet
) -> dict[str, Any]:
    """Return what `rudolph train export` needs to write a checkpoint of the run."""
    return {
        "recipe": run.recipe,
        "start": start.identity,
        "settings": asdict(settings) | {"frozen": sorted(settings.frozen)},
        "served_tasks": ["answer"] if any(task.task == "answer" for task in run.tasks) else [],
        "name": run.name,
        "examples": _examples(data),
        "data": _described(run, data),
        "details": {
            "batch": run.batch,
            "seed": run.seed,
            "views": run.views,
            "start": run.recipe,
            "data digests": data.digests,
        },
    }


def _examples(data: TaskDataSet) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for source in data.training:
        for task, bodies in example_bodies(source.data.task, source.examples).items():
            found.setdefault(task, []).extend(bodies)
    return found


def _described(run: TransformerRun, data: TaskDataSet) -> str:
    parts = [
        f"{len(source.examples)} examples of {source.data.data.name} ({source.data.task})"
        for source in data.training
    ]
    held_out = sum(len(source.examples) for source in data.validation)
    return ", ".join(parts) + (f"; {held_out} held out" if held_out else "")
