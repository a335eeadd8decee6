"""Output on the terminal: one line for an error, a table, a progress bar.

Results go to standard output and everything else to standard error, so that results can be piped.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from jobs.contract.results import ImagesResult, ResultWarning

PIPE_WIDTH = 10_000
"""Columns in a pipe or a file: every row is one complete line."""

# Names, paths and texts may contain square brackets and colons, so nothing is read as markup.
output = Console(
    soft_wrap=True,
    highlight=False,
    markup=False,
    emoji=False,
    width=None if sys.stdout.isatty() else PIPE_WIDTH,
)
errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

OnProgress = Callable[[str, int, int], None]
"""Called with phase, done, total."""


class CliError(Exception):
    """Ends the command with `message` as its last line. `exit_code` follows sysexits.h if a code fits."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def print_error(message: object) -> None:
    """Print an error as one line on standard error."""
    errors.print(Text.assemble(("error:", "red"), f" {message}"))


def print_json(value: object, console: Console = output) -> None:
    """Print a value as indented JSON."""
    console.print(msgspec.json.format(msgspec.json.encode(value).decode(), indent=2))


def print_warnings(warnings: Iterable[ResultWarning]) -> None:
    """Print what of the request the model could not use, on standard error."""
    for warning in warnings:
        errors.print(Text.assemble(("warning:", "yellow"), f" {warning.message}"))


def print_images(paths: Sequence[Path], result: ImagesResult, *, as_json: bool) -> None:
    """Print the path, seed and score of each image; on standard error if standard output is an image."""
    console = errors if "-" in map(str, paths) else output
    rows = list(zip(map(str, paths), result.images, strict=True))
    if as_json:
        found = [{"path": path, "seed": image.seed, "score": image.score} for path, image in rows]
        print_json(found, console)
        return
    for path, image in rows:
        score = "" if image.score is None else f"  score {image.score:.3f}"
        console.print(f"{path}  seed {image.seed}{score}")


@contextmanager
def progress_bar(title: str) -> Generator[OnProgress]:
    """A bar on standard error that vanishes at the end; nothing at all where that is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task(title, total=None)

        def update(phase: str, done: int, total: int) -> None:
            progress.update(bar, description=f"{title}: {phase}", completed=done, total=total or None)

        yield update
