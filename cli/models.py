"""Which checkpoint a command uses when none is named."""

from pathlib import Path

from cli.console import CliError
from model.config import PRESETS

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = (ROOT / "checkpoints" / "demo", ROOT / "tests" / "fixtures" / "tiny-v2")
"""The demo checkpoint, else the small one of the tests: random weights, but every task answers."""


def choose_model(model: Path | None) -> Path:
    """The folder named, or the first default that is there. Raises CliError with the remedy."""
    if model is not None:
        if not model.is_dir():
            raise CliError(f"there is no checkpoint folder {model}; `rudolph download 350M` fetches one")
        return model
    for folder in DEFAULTS:
        if any(folder.glob("*.bin")) or any(folder.glob("*.safetensors")):
            return folder
    raise CliError("no checkpoint: name a folder with --model, or fetch one with `rudolph download 350M`")


def choose_start(init: str) -> tuple[Path, str | None]:
    """The folder that training starts from, and its preset where one was named. Raises CliError."""
    if init not in PRESETS:
        return choose_model(Path(init)), None
    folder = Path("checkpoints") / init
    if not folder.is_dir():
        raise CliError(f"the weights of {init} are not in {folder}; `rudolph download {init}` fetches them")
    return folder, init
