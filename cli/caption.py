"""`rudolph caption`: describe images."""

from typing import Annotated

import typer

from cli import options
from cli.console import output, progress_bar
from cli.given import given
from cli.inputs import read_image
from cli.many_images import is_one_image, run_on_each
from cli.option_groups import with_option_groups
from cli.outputs import check_text_target, write_lines
from cli.shared_options import BackendChoice, Sampling
from jobs.contract.requests import Task
from jobs.contract.results import Result, TextsResult


@with_option_groups
def caption(
    images: options.Images,
    sampling: Sampling,
    backend: BackendChoice,
    target: Annotated[
        str | None, typer.Option("--output", "-o", help="Text file, or - for standard output (the default).")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=16, help="Number of captions to return.")] = 1,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="Number of captions to generate; the best n are returned. Default: 8."
        ),
    ] = None,
    template: Annotated[str, typer.Option(help="First words of every caption.")] = "",
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Describe images in Russian: one image as text, several or a folder as a line of JSON each."""
    check_text_target(target, force=force)
    fields = given(n=n, candidates=candidates, template=template) | sampling.given()
    if is_one_image(images) and not as_json:
        with progress_bar("describing") as on_progress:
            body = {"image": read_image(images[0]), **fields}
            result = backend.open().run(Task.IMAGE2TEXT, body, on_progress)
        lines = (f"{text}\n" for text in _texts(result))
    else:
        lines = run_on_each(backend.open(), Task.IMAGE2TEXT, images, fields, _as_json, title="describing")
    if write_lines(target, lines, force=force):
        output.print(target)


def _texts(result: Result) -> list[str]:
    assert isinstance(result, TextsResult)
    return [text.text for text in result.texts]


def _as_json(result: Result) -> dict[str, object]:
    texts = _texts(result)
    return {"text": texts[0], "texts": texts}
