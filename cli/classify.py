"""`rudolph classify`: the class among those named that fits a picture best."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from cli import options
from cli.backend import open_backend
from cli.console import CliError, output, progress_bar
from cli.pictures import read_picture
from jobs.requests import ClassifyRequest
from jobs.results import ClassifyResult


def classify(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP file.")],
    classes: Annotated[list[str], typer.Argument(help="Class names, two or more.")],
    template: Annotated[str, typer.Option(help="Sentence with {} where the class stands.")] = "{}",
    target: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file; default: a table on the terminal.")
    ] = None,
    server: options.Server = options.DEFAULT_SERVER,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    model: options.Model = None,
    preset: options.Preset = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
) -> None:
    """Say which of the classes a picture shows."""
    if len(classes) < 2:
        raise CliError("name two classes or more")
    request = ClassifyRequest(image=read_picture(picture), classes=tuple(classes), template=template)
    backend = open_backend(
        local=local, server=server, api_key=api_key, model=model, preset=preset, device=device, dtype=dtype
    )
    with progress_bar("classifying") as on_progress:
        result = backend.run(request, on_progress)
    assert isinstance(result, ClassifyResult)
    if target is not None:
        target.write_bytes(msgspec.json.format(msgspec.json.encode(_as_json(result)), indent=2) + b"\n")
        output.print(f"{result.scores[result.label].class_name}  ({target})", markup=False)
        return
    table = Table("class", "score (lower is better)", "ppl_text", box=None)
    for score in sorted(result.scores, key=lambda score: score.ppl_text):
        table.add_row(score.class_name, f"{score.score:.4f}", f"{score.ppl_text:.3f}")
    output.print(table)


def _as_json(result: ClassifyResult) -> dict[str, object]:
    return {
        "class": result.scores[result.label].class_name,
        "label": result.label,
        "scores": [
            {"class": score.class_name, "score": score.score, "ppl_text": score.ppl_text}
            for score in result.scores
        ],
    }
