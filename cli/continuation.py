"""`rudolph continue`: continue a text."""

from typing import Annotated

import typer

from cli import options
from cli.console import output, print_json, progress_bar
from cli.given import given
from cli.option_groups import with_option_groups
from cli.shared_options import BackendChoice, Sampling
from jobs.contract.requests import Task
from jobs.contract.results import TextsResult


@with_option_groups
def continue_text(
    prompt: Annotated[str, typer.Argument(help="Text to continue, in Russian.")],
    sampling: Sampling,
    backend: BackendChoice,
    n: Annotated[int, typer.Option("-n", min=1, max=16, help="Number of texts to return.")] = 1,
    candidates: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Number of texts to generate, to return the best n. Default: n."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tokens. Default: as many as fit.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Continue a Russian text."""
    body = given(prompt=prompt, n=n, candidates=candidates, max_tokens=max_tokens, **sampling.given())
    with progress_bar("writing") as on_progress:
        result = backend.open().run(Task.TEXT2TEXT, body, on_progress)
    assert isinstance(result, TextsResult)
    if as_json:
        print_json([{"text": text.text, "score": text.score} for text in result.texts])
        return
    for text in result.texts:
        output.print(text.text)
