"""`rudolph answer`: answer a question, about an image or without one."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.console import output, print_json, progress_bar
from cli.given import given
from cli.inputs import read_image
from cli.option_groups import with_option_groups
from cli.shared_options import BackendChoice
from jobs.contract.requests import Task
from jobs.contract.results import AnswerResult


@with_option_groups
def answer(
    question: Annotated[str, typer.Argument(help="Question, in Russian.")],
    backend: BackendChoice,
    image: Annotated[
        Path | None,
        typer.Option(help="Image that the question is about; - reads standard input."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tokens. Default: as many as fit.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Answer a question. Only checkpoints that were fine-tuned for questions can."""
    body = given(question=question, image=read_image(image) if image else None, max_tokens=max_tokens)
    with progress_bar("answering") as on_progress:
        result = backend.open().run(Task.ANSWER, body, on_progress)
    assert isinstance(result, AnswerResult)
    if as_json:
        print_json({"answer": result.answer})
    else:
        output.print(result.answer)
