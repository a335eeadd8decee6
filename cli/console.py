"""What a person at the terminal sees: one clear line for an error, a table, a progress bar.

Results go to standard output, everything else to standard error, so that output can be piped.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

output = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)

OnProgress = Callable[[str, int, int], None]
"""phase, done, total."""


class CliError(Exception):
    """Ends the command with `message` as its last line. `exit_code` as in sysexits.h where one fits."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def progress_bar(title: str) -> Generator[OnProgress]:
    """A bar on standard error that vanishes at the end; nothing at all where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task(title, total=None)

        def update(phase: str, done: int, total: int) -> None:
            progress.update(bar, description=f"{title}: {phase}", completed=done, total=total or None)

        yield update
