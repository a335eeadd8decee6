"""Optional packages: imported when an option needs them."""

import importlib
from typing import Any


class MissingExtraError(ValueError):
    """An option needs a package that is not installed; the message names the extra."""


def require(module: str, extra: str, option: str) -> Any:
    """Import a module of an optional package. Raises MissingExtraError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{option} needs the package {module}. Install it with `pip install 'rudolph-server[{extra}]'`."
        ) from error
