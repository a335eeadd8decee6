"""Runs a task on several images, one after the other: a line of JSON for each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cli.backend import Backend
from cli.console import CliError, print_error, progress_bar
from cli.inputs import read_image
from cli.outputs import FORMATS
from jobs.contract.requests import Task
from jobs.contract.results import Result


def is_one_image(paths: Sequence[Path]) -> bool:
    """Return whether the paths of a command name one image, not several or a folder."""
    return len(paths) == 1 and not paths[0].is_dir()


def run_on_each(
    backend: Backend,
    task: Task,
    paths: Sequence[Path],
    fields: dict[str, Any],
    as_json: Callable[[Result], dict[str, object]],
    *,
    title: str,
) -> Iterator[str]:
    """Yield one line of JSON for each image when it is done, in the order of their names.

    The line of an image that fails has `error`, and the others follow. Raises CliError if all of them fail.
    """
    files = [file for path in paths for file in _files(path)]
    num_failed = 0
    with progress_bar(title) as on_progress:
        for done, file in enumerate(files):
            on_progress(file.name, done, len(files))
            try:
                body = {"image": read_image(file), **fields}
                line = {"image": str(file), **as_json(backend.run(task, body, _ignore))}
            except CliError as error:
                print_error(f"{file}: {error}")
                line = {"image": str(file), "error": str(error)}
                num_failed += 1
            yield f"{msgspec.json.encode(line).decode()}\n"
    if num_failed == len(files):
        raise CliError(f"None of the {len(files)} images has a result.")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in FORMATS and file.is_file())
    if not found:
        raise CliError(f"{path} holds no image; the suffixes are {', '.join(FORMATS)}.")
    return found


def _ignore(phase: str, done: int, total: int) -> None:
    pass
