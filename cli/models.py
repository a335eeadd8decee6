"""Selects the checkpoint of a command."""

from pathlib import Path

from cli.console import CliError
from model.config import PRESETS
from telemetry.misconfiguration import MISCONFIGURED

DEFAULT = Path(__file__).resolve().parent.parent / "checkpoints" / "demo"
"""The bundled demo checkpoint."""


def choose_model(model: Path | None, *, exit_code: int = 1) -> Path:
    """Return the given folder, or the demo checkpoint. Raises CliError with the remedy."""
    if model is not None:
        if not model.is_dir():
            message = f"There is no checkpoint folder {model}. `rudolph download 350M` creates one."
            raise CliError(message, exit_code=exit_code)
        return model
    if any(DEFAULT.glob("*.safetensors")):
        return DEFAULT
    raise CliError(
        "There is no checkpoint. Name a folder with --model, or download one with `rudolph download 350M`.",
        exit_code=exit_code,
    )


def choose_served_model(model: Path | None) -> Path:
    """As `choose_model`, with the exit code of a wrong setting, after which a restart does not help."""
    return choose_model(model, exit_code=MISCONFIGURED)


def choose_start(init: str) -> tuple[Path, str | None]:
    """Return the folder that training starts from, and its preset or None. Raises CliError."""
    if init not in PRESETS:
        return choose_model(Path(init)), None
    folder = Path("checkpoints") / init
    if not folder.is_dir():
        raise CliError(
            f"The weights of {init} are not in {folder}. Download them with `rudolph download {init}`."
        )
    return folder, init
