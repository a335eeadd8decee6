"""`rudolph generate`: draw images for a text."""

from typing import Annotated

import typer

from cli import options
from cli.console import print_images, progress_bar
from cli.given import given
from cli.option_groups import with_option_groups
from cli.outputs import image_target
from cli.shared_options import BackendChoice, Sampling
from jobs.contract.requests import Task
from jobs.contract.results import ImagesResult


@with_option_groups
def generate(
    prompt: Annotated[str, typer.Argument(help="Text to draw, in Russian.")],
    sampling: Sampling,
    backend: BackendChoice,
    target: options.ImageOutput = "pictures",
    n: options.NumImages = 1,
    candidates: options.ImageCandidates = None,
    guidance: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="How far to loosen the prompt, from 0 (follow it strictly) to 1."
        ),
    ] = 0.0,
    image_format: Annotated[
        str | None, typer.Option("--format", help="png, jpeg or webp. Default: by the suffix of the file.")
    ] = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw images for a Russian text and write them to files."""
    chosen = image_target(target, image_format, n, force=force)
    fields = given(prompt=prompt, n=n, candidates=candidates, guidance=guidance, format=chosen.image_format)
    with progress_bar("drawing") as on_progress:
        result = backend.open().run(Task.TEXT2IMAGE, fields | sampling.given(), on_progress)
    assert isinstance(result, ImagesResult)
    paths = chosen.write([image.data for image in result.images])
    print_images(paths, result, as_json=as_json)
