"""`rudolph caption`: texts for a picture."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.backend import open_backend
from cli.console import output, progress_bar
from cli.pictures import read_picture
from cli.sampling import sampling_of, seed_of
from jobs.requests import TEXT_SAMPLING, Image2TextRequest
from jobs.results import TextsResult


def caption(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP file.")],
    target: Annotated[
        Path | None, typer.Option("--output", "-o", help="Text file; default: the terminal.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=16, help="Captions to return.")] = 1,
    candidates: Annotated[
        int | None, typer.Option(min=1, max=256, help="Captions to draw; the model picks the best n.")
    ] = None,
    template: Annotated[str, typer.Option(help="Words that every caption begins with.")] = "",
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
    """Describe a picture in Russian."""
    candidates = max(n, candidates or n)
    request = Image2TextRequest(
        image=read_picture(picture),
        seed=seed_of(seed),
        n=n,
        candidates=candidates,
        template=template,
        sampling=sampling_of(TEXT_SAMPLING, temperature, top_k, top_p),
        rerank=candidates > n,
    )
    backend = open_backend(
        local=local, server=server, api_key=api_key, model=model, preset=preset, device=device, dtype=dtype
    )
    with progress_bar("describing") as on_progress:
        result = backend.run(request, on_progress)
    assert isinstance(result, TextsResult)
    lines = "\n".join(text.text for text in result.texts)
    if target is None:
        output.print(lines, markup=False)
    else:
        target.write_text(f"{lines}\n", encoding="utf-8")
        output.print(str(target))
