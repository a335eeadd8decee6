"""`rudolph models`: the checkpoints on this machine."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli import options
from cli.console import CliError, output, print_json
from cli.models import DEFAULT
from model.config import PRESETS
from model.files.config_json import parse_config

_DEFAULT_FOLDER = Path("checkpoints")
_WEIGHTS = ("*.safetensors", "*.bin", "*.ckpt")


@dataclass(frozen=True)
class Found:
    """A checkpoint folder."""

    folder: str
    name: str
    megabytes: int
    preset: str | None
    """Value for --preset; None if the folder describes itself."""
    fault: str | None = None
    """The reason that the folder cannot be served."""


def models(
    folder: Annotated[Path, typer.Argument(help="Folder that holds checkpoint folders.")] = Path(
        "checkpoints"
    ),
    as_json: options.AsJson = False,
) -> None:
    """List the checkpoints on this machine: the bundled demo, and the downloaded or trained ones."""
    if folder != _DEFAULT_FOLDER and not folder.is_dir():
        raise CliError(f"There is no folder {folder}.")
    paths = [path for path in sorted(folder.glob("*")) if path.resolve() != DEFAULT.resolve()]
    found = [_inspect(path) for path in (DEFAULT, *paths) if any(_weight_files(path))]
    if as_json:
        print_json([asdict(checkpoint) for checkpoint in found])
        return
    table = Table("folder", "name", "MB", "serve with", box=None)
    for checkpoint in found:
        preset = f" --preset {checkpoint.preset}" if checkpoint.preset else ""
        serve = checkpoint.fault or f"rudolph serve --model {checkpoint.folder}{preset}"
        table.add_row(checkpoint.folder, checkpoint.name, str(checkpoint.megabytes), serve)
    output.print(table)


def _weight_files(folder: Path) -> list[Path]:
    return [file for pattern in _WEIGHTS for file in folder.glob(pattern)] if folder.is_dir() else []


def _inspect(folder: Path) -> Found:
    shown = str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
    megabytes = round(sum(file.stat().st_size for file in _weight_files(folder)) / 1e6)
    file = folder / "config.json"
    if not file.is_file():
        preset = folder.name if folder.name in PRESETS else None
        fault = None if preset else "config.json is missing; name the architecture with --preset"
        return Found(shown, folder.name, megabytes, preset, fault)
    try:
        described = parse_config(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, OSError) as error:
        return Found(shown, folder.name, megabytes, None, f"config.json: {error}")
    return Found(shown, described.name or folder.name, megabytes, None)
