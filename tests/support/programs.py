"""Finds the programs other than Python that tests run."""

import os
import shutil

import pytest


def require(program: str) -> str:
    """Return the path of the program. Without it the test is skipped, or fails where CI=true."""
    path = shutil.which(program)
    if path is None:
        message = f"{program} is not installed; as root on Debian `make test` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
