"""`rudolph classify`: find the class that fits an image best."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from cli import options
from cli.console import CliError, output, progress_bar
from cli.inputs import read_image
from cli.many_images import is_one_image, run_on_each
from cli.option_groups import with_option_groups
from cli.outputs import check_text_target, write_lines, write_text
from cli.shared_options import BackendChoice
from jobs.contract.requests import Task
from jobs.contract.results import ClassifyResult, ClassScore, Result


@with_option_groups
def classify(
    image: Annotated[Path, typer.Argument(help="Image, or a folder of images; - reads standard input.")],
    classes: Annotated[list[str], typer.Argument(help="Names of two or more classes.")],
    backend: BackendChoice,
    template: Annotated[str, typer.Option(help="Text for each class, with {} in place of its name.")] = "{}",
    target: Annotated[
        str | None,
        typer.Option("--output", "-o", help="JSON file, or - for JSON on standard output. Default: a table."),
    ] = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Print which of the classes an image shows. A folder: a line of JSON an image."""
    if len(classes) < 2:
        raise CliError("Name two classes or more.")
    check_text_target(target, force=force)
    fields = {"classes": classes, "template": template}
    if not is_one_image([image]):
        lines = run_on_each(backend.open(), Task.CLASSIFY, [image], fields, _as_json, title="classifying")
        if write_lines(target, lines, force=force):
            output.print(target)
        return
    with progress_bar("classifying") as on_progress:
        result = backend.open().run(Task.CLASSIFY, {"image": read_image(image), **fields}, on_progress)
    assert isinstance(result, ClassifyResult)
    if target is not None or as_json:
        text = msgspec.json.format(msgspec.json.encode(_as_json(result)).decode(), indent=2)
        if write_text(target, f"{text}\n", force=force):
            output.print(f"{result.scores[result.label].class_name}  ({target})")
        return
    table = Table("class", "probability", "score (lower is better)", "ppl_text", box=None)
    for score, share in sorted(_shares(result), key=lambda pair: pair[0].ppl_text):
        table.add_row(score.class_name, f"{share:.1%}", f"{score.score:.4f}", f"{score.ppl_text:.3f}")
    output.print(table)


def _shares(result: ClassifyResult) -> list[tuple[ClassScore, float]]:
    """Return each score with its probability, in the order of the request."""
    return list(zip(result.scores, result.probabilities(), strict=True))


def _as_json(result: Result) -> dict[str, object]:
    assert isinstance(result, ClassifyResult)
    return {
        "class": result.scores[result.label].class_name,
        "label": result.label,
        "scores": [
            {
                "class": score.class_name,
                "probability": share,
                "score": score.score,
                "ppl_text": score.ppl_text,
            }
            for score, share in _shares(result)
        ],
    }
