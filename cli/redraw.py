"""`rudolph redraw`: draw a part of an image again."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.console import CliError, print_images, progress_bar
from cli.given import given
from cli.inputs import read_image
from cli.option_groups import with_option_groups
from cli.outputs import image_target
from cli.shared_options import BackendChoice, Sampling
from jobs.contract.requests import Task
from jobs.contract.results import ImagesResult

_Kept = typer.Option(min=0, max=64, help="Rows or columns to keep at this side, in cells of 8×8 pixels.")


@with_option_groups
def redraw(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP file; - reads standard input.")],
    prompt: Annotated[str, typer.Argument(help="What to draw, in Russian.")],
    sampling: Sampling,
    backend: BackendChoice,
    target: options.ImageOutput = "pictures",
    mask: Annotated[
        Path | None, typer.Option(help="PNG of the image's size; its transparent parts are drawn again.")
    ] = None,
    up: Annotated[int, _Kept] = 0,
    down: Annotated[int, _Kept] = 0,
    left: Annotated[int, _Kept] = 0,
    right: Annotated[int, _Kept] = 0,
    n: options.NumImages = 1,
    candidates: options.ImageCandidates = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw a part of an image again: the transparent part of a mask, or all but the sides that are kept."""
    borders = {"up": up, "down": down, "left": left, "right": right}
    if (mask is None) == (not any(borders.values())):
        raise CliError("Give either --mask, or the sides to keep: --up, --down, --left, --right.")
    chosen = image_target(target, None, n, force=force)
    image_prompt: dict[str, Any] = {"image": read_image(image)}
    image_prompt |= {"borders": borders} if mask is None else {"mask": read_image(mask)}
    body = given(prompt=prompt, n=n, candidates=candidates, image_prompt=image_prompt)
    body |= {"format": chosen.image_format} | sampling.given()
    with progress_bar("drawing") as on_progress:
        result = backend.open().run(Task.TEXT2IMAGE, body, on_progress)
    assert isinstance(result, ImagesResult)
    print_images(chosen.write([drawn.data for drawn in result.images]), result, as_json=as_json)
