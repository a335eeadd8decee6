"""`rudolph rank`: order images by a text, or texts by an image."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli import options
from cli.console import output, print_json, progress_bar
from cli.inputs import read_image
from cli.option_groups import with_option_groups
from cli.shared_options import BackendChoice
from jobs.contract.requests import Task
from jobs.contract.results import RankedItem, RankingResult

app = typer.Typer(help="Order images by a text, or texts by an image, best first.", no_args_is_help=True)


@app.command("images")
@with_option_groups
def rank_images(
    text: Annotated[str, typer.Argument(help="Text that the images should match.")],
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG or WebP files; - reads standard input.")],
    backend: BackendChoice,
    as_json: options.AsJson = False,
) -> None:
    """Order images by how well they match a text, best first."""
    body = {"text": text, "images": [read_image(path) for path in images]}
    with progress_bar("ranking") as on_progress:
        result = backend.open().run(Task.RANK_IMAGES, body, on_progress)
    assert isinstance(result, RankingResult)
    _print("image", [str(path) for path in images], result, as_json=as_json)


@app.command("texts")
@with_option_groups
def rank_texts(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP file; - reads standard input.")],
    texts: Annotated[list[str], typer.Argument(help="Texts that should match the image.")],
    backend: BackendChoice,
    as_json: options.AsJson = False,
) -> None:
    """Order texts by how well they match an image, best first."""
    body = {"image": read_image(image), "texts": texts}
    with progress_bar("ranking") as on_progress:
        result = backend.open().run(Task.RANK_TEXTS, body, on_progress)
    assert isinstance(result, RankingResult)
    _print("text", texts, result, as_json=as_json)


def _scores(item: RankedItem, probability: float) -> dict[str, float]:
    return {
        "probability": probability,
        "score": item.score,
        "ppl_text": item.ppl_text,
        "ppl_image": item.ppl_image,
    }


def _print(kind: str, names: list[str], result: RankingResult, *, as_json: bool) -> None:
    ranked = list(zip(result.ranking, result.probabilities(), strict=True))
    if as_json:
        print_json([{kind: names[item.index], **_scores(item, share)} for item, share in ranked])
        return
    table = Table(kind, "probability", "score (lower is better)", box=None)
    for item, share in ranked:
        table.add_row(names[item.index], f"{share:.1%}", f"{item.score:.4f}")
    output.print(table)
