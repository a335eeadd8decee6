"""Reads settings from the RUDOLPH_* variables. A wrong value is one line with the name of the variable."""

import os
from typing import TypeVar

from pydantic_settings import BaseSettings

from cli.console import CliError
from telemetry.misconfiguration import MISCONFIGURED, settings_fault

Kind = TypeVar("Kind", bound=BaseSettings)

_KEY_VARIABLES = frozenset({"RUDOLPH_API_KEYS", "RUDOLPH_API_KEY"})
"""The keys of the server, and the key that the command line sends."""


def read_settings(kind: type[Kind]) -> Kind:
    """Return the settings of one kind from the environment. Raises CliError."""
    try:
        return kind()
    except ValueError as error:
        raise CliError(settings_fault(error), exit_code=MISCONFIGURED) from error


def forget_keys() -> None:
    """Remove the API keys from this process's environment, so that no process started later inherits them."""
    for name in [name for name in os.environ if name.upper() in _KEY_VARIABLES]:
        del os.environ[name]
