"""`rudolph train evaluate`: measure a served or local checkpoint on examples, with a report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.backend import Backend
from cli.console import CliError, output, progress_bar
from cli.option_groups import with_option_groups
from cli.shared_options import BackendChoice
from cli.train import options
from cli.train.tune import Task as TrainingTask
from jobs.contract.requests import Task
from jobs.contract.results import AnswerResult, ClassifyResult, ImagesResult, TextsResult

if TYPE_CHECKING:
    from training.data import Example
    from training.evaluation import Outcome

MAX_CLASSES = 1000
Limit = Annotated[int, typer.Option("--limit", min=1, help="Largest number of examples; the first ones.")]
Split = Annotated[
    str | None, typer.Option("--split", help="Only this split of the data set: train, validation or test.")
]
Report = Annotated[
    Path | None, typer.Option("--report", help="Write an HTML page with images and all results.")
]
Measure = Callable[["Example", Backend, Sequence[str]], "Outcome"]


@with_option_groups
def evaluate(
    data: options.Data,
    backend: BackendChoice,
    columns: options.ColumnNames,
    task: Annotated[TrainingTask, typer.Option("--task", help="What is measured; not text or mix.")],
    limit: Limit = 200,
    split: Split = None,
    report: Report = None,
) -> None:
    """Measure a checkpoint on examples: exact captions and answers, right classes, recognised drawings.

    A drawing is recognised if the model itself chooses its prompt among all prompts of the data set.
    """
    from training.data import read_data
    from training.evaluation import share_right, write_report
    from training.tasks import NEEDS

    measure = _MEASURES.get(task)
    if measure is None or task.value == "mix":  # the second for the types
        raise CliError(f"--task {task.value} cannot be measured; choose {', '.join(_MEASURES)}.")
    with options.plain_errors():
        examples, reading = read_data(data, NEEDS[task.value], columns.columns())
        reading.require(data, examples)
        chosen = [each for each in examples if split is None or each.split == split][:limit]
        if not chosen:
            splits = ", ".join(sorted({each.split for each in examples}))
            raise CliError(f"{data} has no split {split}; its splits are {splits}.")
        classes = _classes(chosen, examples) if task in _CHOOSING else []
        opened = backend.open()
        outcomes: list[Outcome] = []
        with progress_bar("evaluating") as on_progress:
            for index, example in enumerate(chosen):
                on_progress("examples", index, len(chosen))
                outcomes.append(measure(example, opened, classes))
        if report is not None:
            write_report(report, f"{task.value}: {data.name}", outcomes)
    right = sum(outcome.is_right for outcome in outcomes)
    output.print(f"{task.value}: {right} of {len(outcomes)} right ({share_right(outcomes):.1%})")


_CHOOSING = (TrainingTask.CLASSIFY, TrainingTask.DRAW)


def _classes(chosen: "Sequence[Example]", examples: "Sequence[Example]") -> list[str]:
    """Return the texts to choose from: first those of the chosen examples, each once but for case."""
    unique: dict[str, str] = {}
    for each in chosen:
        unique.setdefault(" ".join(each.text.lower().split()), each.text)
    if len(unique) > MAX_CLASSES:
        raise CliError(f"At most {MAX_CLASSES} different texts can be compared. Choose a smaller --limit.")
    for each in examples:
        unique.setdefault(" ".join(each.text.lower().split()), each.text)
    if len(unique) > MAX_CLASSES:
        output.print(f"{len(unique)} different texts; the first {MAX_CLASSES} are the choices.")
    return list(unique.values())[:MAX_CLASSES]


def _caption(example: "Example", backend: Backend, _classes: Sequence[str]) -> "Outcome":
    from training.evaluation import Outcome

    image = example.read()
    body = {"image": image, "n": 1, "candidates": 1, "top_k": 1, "seed": 0}
    result = _run(backend, Task.IMAGE2TEXT, body)
    assert isinstance(result, TextsResult)
    return Outcome(example.place, example.text, result.texts[0].text, image=image)


def _classify(example: "Example", backend: Backend, classes: Sequence[str]) -> "Outcome":
    from training.evaluation import Outcome

    image = example.read()
    return Outcome(example.place, example.text, _class_of(image, backend, classes), image=image)


def _answer(example: "Example", backend: Backend, _classes: Sequence[str]) -> "Outcome":
    from training.evaluation import Outcome

    image = example.read() if example.image is not None else None
    body = {"question": example.question} | ({"image": image} if image is not None else {})
    result = _run(backend, Task.ANSWER, body)
    assert isinstance(result, AnswerResult)
    return Outcome(example.place, example.text, result.answer, example.question, image)


def _draw(example: "Example", backend: Backend, classes: Sequence[str]) -> "Outcome":
    from training.evaluation import Outcome

    result = _run(backend, Task.TEXT2IMAGE, {"prompt": example.text, "n": 1, "seed": 0})
    assert isinstance(result, ImagesResult)
    image = result.images[0].data
    return Outcome(example.place, example.text, _class_of(image, backend, classes), image=image)


def _class_of(image: bytes, backend: Backend, classes: Sequence[str]) -> str:
    if len(classes) < 2:
        raise CliError("All examples have the same text, so there is nothing to choose from.")
    body = {"image": image, "classes": list(classes), "template": "{}"}
    result = _run(backend, Task.CLASSIFY, body)
    assert isinstance(result, ClassifyResult)
    return classes[result.label]


def _run(backend: Backend, task: Task, body: dict[str, Any]) -> Any:
    return backend.run(task, body, lambda _phase, _done, _total: None)


_MEASURES: dict[TrainingTask, Measure] = {
    TrainingTask.CAPTION: _caption,
    TrainingTask.CLASSIFY: _classify,
    TrainingTask.ANSWER: _answer,
    TrainingTask.DRAW: _draw,
}
