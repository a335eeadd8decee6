"""`rudolph download`: fetch a published checkpoint, with resume, progress bar and checksums."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import CliError, output


def download(
    preset: Annotated[str, typer.Argument(help="350M, 350M-v2, 1.3B, 2.7B or 2.7B-FBC2.")],
    directory: Annotated[
        Path | None,
        typer.Option("--directory", "-d", help="Folder for the files. Default: checkpoints/PRESET."),
    ] = None,
) -> None:
    """Download a published checkpoint into a folder for `rudolph serve --model`."""
    from model.config import PRESETS

    if preset not in PRESETS:
        raise CliError(f"There is no preset {preset!r}. The presets are {', '.join(PRESETS)}.")
    try:
        from model.files.download import DownloadError
        from model.files.download import download as fetch
    except ModuleNotFoundError as error:
        raise CliError(f"{error.name} is not installed. Run: pip install -e '.[worker]'") from error
    target = directory or Path("checkpoints") / preset
    try:
        fetch(preset, target)
    except DownloadError as error:
        raise CliError(str(error)) from error
    output.print(f"{target}  (rudolph serve --model {target} --preset {preset})")
