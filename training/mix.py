"""Reads the description of a run with several tasks: a TOML file with a table `[[task]]` for each."""

import tomllib
from pathlib import Path
from typing import Any

from training.data import Columns, DataError
from training.sequences import LossWeights
from training.tasks import TASKS, TaskData

FIELDS = ("task", "data", "share", "weights", "image", "text", "question", "answer", "encoding")
NUM_WEIGHTS = 3


def read_mix(path: Path) -> list[TaskData]:
    """Return the tasks of a file. Raises DataError naming the table and the field at fault.

    Fields of a table: task, data (a path relative to the file), share (default 1), weights (left, image,
    right), and the columns image, text, question, answer and encoding.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid TOML: {error}") from error
    tables = document.get("task")
    if not isinstance(tables, list) or not tables or set(document) != {"task"}:
        raise DataError(f"{path}: must have a table [[task]] for each task, and nothing else")
    tasks = [_task(table, path, f"{path}: task {number}") for number, table in enumerate(tables, start=1)]
    if len({(task.task, task.weights) for task in tasks}) > len({task.task for task in tasks}):
        # The means of a batch are taken over all sequences of one task.
        raise DataError(f"{path}: all tables of one task must have the same weights")
    return tasks


def _task(table: Any, path: Path, place: str) -> TaskData:
    if not isinstance(table, dict):
        raise DataError(f"{place}: must be a table")
    if unknown := sorted(set(table) - set(FIELDS)):
        raise DataError(f"{place}: unknown field {unknown[0]}; the fields are {', '.join(FIELDS)}")
    if table.get("task") not in TASKS:
        raise DataError(f"{place}: task must be one of {', '.join(TASKS)}; got {table.get('task')!r}")
    data, share = table.get("data"), table.get("share", 1.0)
    if not isinstance(data, str):
        raise DataError(f"{place}: data must be the path of a data set")
    if isinstance(share, bool) or not isinstance(share, int | float) or share <= 0:
        raise DataError(f"{place}: share must be a positive number; got {share!r}")
    columns = {name: table.get(name) for name in ("image", "text", "question", "answer", "encoding")}
    for name, value in columns.items():
        if value is not None and not isinstance(value, str):
            raise DataError(f"{place}: {name} must be a text; got {value!r}")
    weights = _weights(table.get("weights"), place)
    return TaskData(table["task"], path.parent / data, float(share), weights, Columns(**columns))


def _weights(value: Any, place: str) -> LossWeights | None:
    if value is None:
        return None
    is_numbers = isinstance(value, list) and all(
        isinstance(weight, int | float) and not isinstance(weight, bool) and weight >= 0 for weight in value
    )
    if not is_numbers or len(value) != NUM_WEIGHTS or not any(value):
        raise DataError(f"{place}: weights must be three numbers for left text, image and right text")
    return LossWeights(*map(float, value))
