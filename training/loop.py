"""The loop that both trainers share: schedule, state files, logs, sample sheets, progress.

Knows steps and time; what a step computes is the trainer's.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from training.progress import Progress
from training.state import load_state, save_state

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"


class Trainer(Protocol):
    """What the loop asks of a trainer."""

    name: str

    def train_step(self, step: int) -> dict[str, float]:
        """Run one optimiser step, a function of the trainer's state and the number; losses by name."""
        ...

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        ...

    def load_state(self, state: dict[str, Any]) -> None: ...

    def write_sheet(self, path: Path) -> None:
        """A picture of what the model can do now."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """When to stop, save, log and draw."""

    total_steps: int
    save_every_s: float = 120.0
    log_every_steps: int = 20
    sheet_every_steps: int = 500
    stop_after_steps: int | None = None
    """Leave after this many steps of this run, with the state saved; for tests and for time slices."""


class StateMismatch(ValueError):
    """A state file that belongs to another run."""


def run_loop(
    trainer: Trainer,
    directory: Path,
    settings: LoopSettings,
    fingerprint: dict[str, Any],
    report: Callable[[str], None] = print,
) -> bool:
    """Train from the last state in `directory`, or from the start; True when all steps are done.

    `fingerprint` says what the run is (settings, data); a state of another run raises StateMismatch.
    """
    state_path = directory / STATE_FILE
    identity = json.dumps(fingerprint, sort_keys=True, default=str)
    start = 0
    state = load_state(state_path)
    if state is not None:
        if state["identity"] != identity:
            raise StateMismatch(
                f"{state_path} belongs to a run with other settings or data; delete {directory} to start anew"
            )
        start = int(state["step"])
        trainer.load_state(state["trainer"])
        report(f"{trainer.name}: going on at step {start} of {settings.total_steps}")
    last_saved = time.monotonic()
    with Progress(trainer.name, start, settings.total_steps, directory / LOG_FILE, report) as progress:
        for step in range(start, settings.total_steps):
            losses = trainer.train_step(step)
            done = step + 1
            progress.update(done, losses, log=done % settings.log_every_steps == 0)
            last = done == settings.total_steps or done - start == settings.stop_after_steps
            if last or time.monotonic() - last_saved >= settings.save_every_s:
                save_state(state_path, {"identity": identity, "step": done, "trainer": trainer.state()})
                last_saved = time.monotonic()
            if done % settings.sheet_every_steps == 0 or done == settings.total_steps:
                trainer.write_sheet(directory / "sheets" / f"{trainer.name}-{done:06d}.png")
            if last and done < settings.total_steps:
                return False
    return True
