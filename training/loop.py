"""The training loop of both trainers: schedule, state files, logs, sample sheets, validation, progress.

Knows steps and time. A trainer knows what a step computes.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from training.distributed import ALONE, Processes
from training.progress import Progress
from training.run_folder import BEST_FILE, STATE_FILE, StateMismatch, StopRequest, catch_signals, differing
from training.state import load_state, save_state

LOG_FILE = "log.jsonl"
CPU = torch.device("cpu")


class Trainer(Protocol):
    """The methods that the loop calls."""

    name: str

    def train_step(self, step: int) -> dict[str, float]:
        """Run an optimiser step; return losses by name. The result depends on the state and the step only."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        ...

    def load_state(self, state: dict[str, Any]) -> None: ...

    def write_sheet(self, path: Path) -> None:
        """Write an image that shows what the model can do now."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """Number of steps, and intervals of saving, logging and sheets."""

    total_steps: int
    save_every_s: float = 120.0
    log_every_steps: int = 20
    sheet_every_steps: int = 500
    stop_after_steps: int | None = None
    """Save the state and return after this many steps, for tests and time slices."""
    images_per_step: int = 0
    """For the shown speed; 0: not shown."""


@dataclass(frozen=True)
class Validation:
    """Measures a run on examples that it does not train on."""

    measure: Callable[[], dict[str, float]]
    """Returns figures by name; `loss` chooses the best state."""
    weights: Callable[[], dict[str, torch.Tensor]]
    """Returns the weights that the best checkpoint gets."""
    every_steps: int
    patience: int = 0
    """Measurements without a better loss after which the run stops; 0: never."""


@dataclass
class _Best:
    """The best measurement so far."""

    loss: float = math.inf
    step: int = 0
    worse: int = 0
    """Measurements since then."""


@dataclass
class _Run:
    """A run in progress."""

    trainer: Trainer
    directory: Path
    settings: LoopSettings
    identity: str
    validation: Validation | None
    processes: Processes
    report: Callable[[str], None]
    best: _Best = field(default_factory=_Best)

    def resume(self) -> tuple[int, dict[str, Any]]:
        """Load the last state; return its step, and the state of the progress. Raises StateMismatch."""
        state = load_state(self.directory / STATE_FILE)
        if state is None:
            return 0, {}
        if state["identity"] != self.identity:
            changed = ", ".join(differing(state["identity"], self.identity))
            raise StateMismatch(
                f"{self.directory / STATE_FILE} belongs to a run with other settings or data "
                f"(changed: {changed}). Delete {self.directory} to start again, or choose another folder."
            )
        self.trainer.load_state(state["trainer"])
        self.best = _Best(**state.get("best", {}))
        step = int(state["step"])
        if self.processes.is_first:
            self.report(f"{self.trainer.name}: resumed at step {step} of {self.settings.total_steps}")
        return step, state.get("progress", {})

    def save(self, done: int, progress: Progress) -> None:
        if self.processes.is_first:
            state = {"identity": self.identity, "step": done, "trainer": self.trainer.state()}
            state |= {"best": vars(self.best), "progress": progress.state()}
            save_state(self.directory / STATE_FILE, state)

    def measure(self, done: int, progress: Progress) -> bool:
        """Measure, and keep the weights if they are the best. Return whether the run should stop early."""
        validation = self.validation
        if validation is None:
            return False
        if done % validation.every_steps and done != self.settings.total_steps:
            return False
        values = validation.measure()
        if values["loss"] < self.best.loss:
            self.best = _Best(values["loss"], done)
            if self.processes.is_first:
                save_state(self.directory / BEST_FILE, {"step": done, "weights": validation.weights()})
        else:
            self.best.worse += 1
        progress.measured(done, values)
        return self.stopped_early()

    def stopped_early(self) -> bool:
        """Return whether the last measurements were all worse than the best one."""
        patience = self.validation.patience if self.validation else 0
        return bool(patience) and self.best.worse >= patience


def run_loop(
    trainer: Trainer,
    directory: Path,
    settings: LoopSettings,
    fingerprint: dict[str, Any],
    report: Callable[[str], None] = print,
    *,
    validation: Validation | None = None,
    processes: Processes = ALONE,
    device: torch.device = CPU,
    on_start: Callable[[], None] = lambda: None,
) -> bool:
    """Train from the last state in `directory`, or from the start. Return whether all steps are done.

    fingerprint: settings and data of the run. on_start: called in the first process if the state fits. Raises
    StateMismatch if the state has another fingerprint, and Stopped after SIGINT or SIGTERM, when the state is
    saved.
    """
    identity = json.dumps(fingerprint, sort_keys=True, default=_plain)
    run = _Run(trainer, directory, settings, identity, validation, processes, report)
    start, shown = run.resume()
    if processes.is_first:
        on_start()
    processes.wait()
    log = directory / LOG_FILE if processes.is_first else None
    with (
        catch_signals() as stop,
        Progress(
            trainer.name,
            start,
            settings.total_steps,
            log,
            report,
            images_per_step=settings.images_per_step,
        ) as progress,
    ):
        progress.load_state(shown)
        return _train(run, start, progress, stop, device)


def _train(run: _Run, start: int, progress: Progress, stop: StopRequest, device: torch.device) -> bool:
    settings, trainer = run.settings, run.trainer
    if run.stopped_early():
        return True
    last_saved = time.monotonic()
    for step in range(start, settings.total_steps):
        progress.update(step + 1, trainer.train_step(step), log_every=settings.log_every_steps)
        done = step + 1
        ends = run.measure(done, progress)
        is_last = ends or done == settings.total_steps
        stopped = run.processes.any(stop.requested, device)
        pauses = stopped or done - start == settings.stop_after_steps
        if is_last or pauses or time.monotonic() - last_saved >= settings.save_every_s:
            run.save(done, progress)
            last_saved = time.monotonic()
        if (done % settings.sheet_every_steps == 0 or is_last) and run.processes.is_first:
            path = run.directory / "sheets" / f"{trainer.name}-{done:06d}.png"
            trainer.write_sheet(path)
            progress.pictured(done, path)
        if is_last:
            if ends:
                run.report(f"{trainer.name}: stopped early at step {done}; the best was step {run.best.step}")
            return True
        if stopped:
            raise stop.error(f"The state of step {done} is saved in {run.directory / STATE_FILE}.")
        if pauses:
            return False
    return True


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, frozenset) else str(value)
