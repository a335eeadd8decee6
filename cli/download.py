"""`rudolph download`: a published checkpoint, with resume, progress bar and checksums."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import CliError, output


def download(
    preset: Annotated[str, typer.Argument(help="350M, 350M-v2, 1.3B, 2.7B or 2.7B-FBC2.")],
    directory: Annotated[
        Path | None, typer.Option("--directory", "-d", help="Where to put it; default: checkpoints/PRESET.")
    ] = None,
) -> None:
    """Fetch a published checkpoint into a folder that `rudolph serve --model` takes."""
    from model.config import PRESETS

    if preset not in PRESETS:
        raise CliError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    try:
        from model.download import DownloadError
        from model.download import download as fetch
    except ModuleNotFoundError as error:
        raise CliError(f"{error.name} is not installed; pip install 'rudolph-server\\[worker]'") from error
    target = directory or Path("checkpoints") / preset
    try:
        fetch(preset, target)
    except DownloadError as error:
        raise CliError(str(error)) from error
    output.print(f"{target}  (rudolph serve --model {target} --preset {preset})", markup=False)
