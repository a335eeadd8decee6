"""Shows a run's losses and the time left, and writes them down: a JSON-lines log, and TensorBoard's if asked.

Knows nothing of what is trained.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from training.tensorboard import ScalarWriter

SMOOTHING = 0.95
"""Share of the old value in the shown losses."""


class Progress:
    """A bar on a terminal, one line an interval elsewhere; the log file either way."""

    def __init__(self, name: str, start: int, total: int, log: Path, report: Callable[[str], None]) -> None:
        self._name, self._total, self._report = name, total, report
        self._first = start
        self._losses: dict[str, float] = {}
        self._began = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("a", encoding="utf-8")
        self._scalars = ScalarWriter(log.parent / "tensorboard")
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Bar(
                *columns, TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[losses]}")
            )
            self._task = self._bar.add_task(name, total=total, completed=start, losses="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._scalars.close()
        self._log.close()

    def update(self, done: int, losses: dict[str, float], *, log: bool) -> None:
        """Take in the losses of one step; show and write them where `log` says so."""
        for name, value in losses.items():
            old = self._losses.get(name, value)
            self._losses[name] = SMOOTHING * old + (1 - SMOOTHING) * value
        shown = " ".join(f"{name} {value:.4g}" for name, value in self._losses.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, losses=shown)
        if not log:
            return
        elapsed = time.monotonic() - self._began
        left = elapsed / max(1, done - self._first) * (self._total - done)
        self._log.write(json.dumps({"step": done, "elapsed_s": round(elapsed, 1), **self._losses}) + "\n")
        self._log.flush()
        self._scalars.write(done, self._losses)
        if self._bar is None:
            self._report(
                f"{self._name} {done}/{self._total} {shown} elapsed {elapsed:.0f} s, left {left:.0f} s"
            )
