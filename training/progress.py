"""Shows the loss, speed and remaining time of a run in one line, and logs all figures.

The log is JSON lines, and a file for TensorBoard. Logged losses are means over the steps since the last
line. Resuming removes the lines after the saved state, so a resumed run has the log of an uninterrupted one.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy
import psutil
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from tensorboardX import SummaryWriter

from training.state import readable

SMOOTHING = 0.9
"""Share of the old value in the shown loss."""
SCALARS_FLUSH_S = 10
"""Seconds between writes of the TensorBoard file."""
PLAIN_LINE_S = 30.0
"""Seconds between lines where there is no terminal."""


class Tracker(Protocol):
    """Receives the figures of a run."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...

    def picture(self, step: int, path: Path) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """Writes figures as JSON lines; drops those after `start` that an earlier process wrote."""

    def __init__(self, path: Path, start: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in old if _step_of(line) <= start]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._began = time.monotonic()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        elapsed = round(time.monotonic() - self._began, 1)
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "elapsed_s": elapsed, **finite}, allow_nan=False) + "\n")
        self._file.flush()

    def picture(self, step: int, path: Path) -> None:
        pass

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Writes figures and sheets for TensorBoard."""

    def __init__(self, folder: Path, start: int) -> None:
        self._writer = SummaryWriter(
            str(folder), flush_secs=SCALARS_FLUSH_S, purge_step=start + 1 if start else None
        )

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, path: Path) -> None:
        if path.is_file() and path.suffix == ".png":
            with Image.open(path) as sheet:
                pixels = numpy.asarray(sheet.convert("RGB"))
            self._writer.add_image("samples", pixels, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class Progress:
    """Draws one line on a terminal, or prints a line per half a minute elsewhere, and writes the logs."""

    def __init__(
        self,
        name: str,
        start: int,
        total: int,
        log: Path | None,
        report: Callable[[str], None],
        *,
        images_per_step: int = 0,
        console: Console | None = None,
    ) -> None:
        """log: None in a process that does not report."""
        self._name, self._total, self._report = name, total, report
        self._first, self._images = start, images_per_step
        self._sums: dict[str, list[float]] = {}
        self._shown: float | None = None
        self._validation: float | None = None
        self._began = self._last_line = time.monotonic()
        self._trackers: list[Tracker] = []
        self._quiet = log is None
        if log is not None:
            self._trackers += [JsonLines(log, start), TensorBoard(log.parent / "tensorboard", start)]
        self._bar: Bar | None = None
        console = console or Console(stderr=True)
        if not self._quiet and console.is_terminal:
            # Width of the bar: what 80 columns leave beside the texts.
            columns = (
                TextColumn("{task.fields[count]}"),
                BarColumn(bar_width=8),
                TextColumn("{task.fields[line]}"),
            )
            self._bar = Bar(*columns, console=console)
            self._task = self._bar.add_task(
                name, total=total, completed=start, line="", count=f"{start}/{total}"
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        for tracker in self._trackers:
            tracker.close()

    def state(self) -> dict[str, Any]:
        """Return the sums since the last logged line."""
        return {
            "sums": {name: list(pair) for name, pair in self._sums.items()},
            "shown": self._shown,
            "validation": self._validation,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self._sums = {name: list(pair) for name, pair in state.get("sums", {}).items()}
        self._shown, self._validation = state.get("shown"), state.get("validation")

    def update(self, done: int, losses: dict[str, float], *, log_every: int) -> None:
        """Add the losses of one step, show them, and log them if the step is a multiple of `log_every`."""
        for name, value in losses.items():
            pair = self._sums.setdefault(name, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1
        loss = losses.get("loss", next(iter(losses.values()), 0.0))
        self._shown = loss if self._shown is None else SMOOTHING * self._shown + (1 - SMOOTHING) * loss
        if done % log_every == 0 or done == self._total:
            self._track(done, {name: total / count for name, (total, count) in self._sums.items()})
            self._sums = {}
        self._show(done)

    def measured(self, done: int, values: dict[str, float]) -> None:
        """Show and log figures of the validation examples."""
        self._validation = values["loss"]
        self._track(done, {f"validation_{name}": value for name, value in values.items()})
        figures = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._print(f"step {done}: validation {figures}")
        self._show(done)

    def pictured(self, done: int, path: Path) -> None:
        """Log a sheet of sample images."""
        for tracker in self._trackers:
            tracker.picture(done, path)

    def line(self, done: int) -> str:
        """Return loss, validation loss, speed, memory and remaining time, in at most 60 columns."""
        seconds = (time.monotonic() - self._began) / max(1, done - self._first)
        left = timedelta(seconds=round(seconds * (self._total - done)))
        parts = [f"{left} left", f"loss {self._shown or 0.0:.3g}"]
        if self._validation is not None:
            parts.append(f"val {self._validation:.3g}")
        if self._images:
            parts.append(f"{self._images / max(seconds, 1e-9):.3g} img/s")
        return ", ".join([*parts, readable(_memory())])

    def _track(self, done: int, values: dict[str, float]) -> None:
        for tracker in self._trackers:
            tracker.scalars(done, values)

    def _show(self, done: int) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, count=f"{done}/{self._total}", line=self.line(done))
        elif done == self._total or done == self._first + 1 or now - self._last_line >= PLAIN_LINE_S:
            self._last_line = now
            self._print(f"{self._name} {done}/{self._total}, {self.line(done)}")

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            self._report(text)


def _memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    return psutil.Process(os.getpid()).memory_info().rss


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize  # a line that a kill cut
