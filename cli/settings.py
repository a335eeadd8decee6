"""Settings from the RUDOLPH_* variables; what is wrong with one is said in one line that names it."""

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from cli.console import CliError

MISCONFIGURED = 78
"""EX_CONFIG of sysexits.h."""

Kind = TypeVar("Kind", bound=BaseSettings)


def read_settings(kind: type[Kind]) -> Kind:
    """The settings of one kind from the environment. Raises CliError."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = "RUDOLPH_" + "_".join(str(part) for part in first["loc"]).upper()
        raise CliError(f"{name}: {first['msg']}", exit_code=MISCONFIGURED) from error
