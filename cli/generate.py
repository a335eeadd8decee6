"""`rudolph generate`: pictures for a text."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.backend import open_backend
from cli.console import output, progress_bar
from cli.pictures import write_pictures
from cli.sampling import sampling_of, seed_of
from jobs.requests import IMAGE_SAMPLING, Text2ImageRequest
from jobs.results import ImagesResult


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw, in Russian.")],
    target: Annotated[
        Path, typer.Option("--output", "-o", help="File, or folder for several pictures.")
    ] = Path("pictures"),
    n: Annotated[int, typer.Option("-n", min=1, max=16, help="Pictures to write.")] = 1,
    candidates: Annotated[
        int | None, typer.Option(min=1, max=256, help="Pictures to draw; the model picks the best n.")
    ] = None,
    guidance: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Weight of the unprompted probabilities; 0: the prompt alone."),
    ] = 0.0,
    picture_format: Annotated[str, typer.Option("--format", help="png, jpeg or webp.")] = "png",
    seed: options.Seed = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    server: options.Server = options.DEFAULT_SERVER,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    model: options.Model = None,
    preset: options.Preset = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
) -> None:
    """Draw pictures for a Russian text and write them to files."""
    request = Text2ImageRequest(
        prompt=prompt,
        seed=seed_of(seed),
        n=n,
        candidates=max(n, candidates or n),
        sampling=sampling_of(IMAGE_SAMPLING, temperature, top_k, top_p),
        guidance=guidance,
        format=picture_format,
    )
    backend = open_backend(
        local=local, server=server, api_key=api_key, model=model, preset=preset, device=device, dtype=dtype
    )
    with progress_bar("drawing") as on_progress:
        result = backend.run(request, on_progress)
    assert isinstance(result, ImagesResult)
    paths = write_pictures([image.data for image in result.images], target, picture_format)
    for path, image in zip(paths, result.images, strict=True):
        score = "" if image.score is None else f"  score {image.score:.3f}"
        output.print(f"{path}  seed {image.seed}{score}")
