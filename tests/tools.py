"""Programs that tests run beside Python; where one is missing its tests say so, and fail in CI."""

import os
import shutil

import pytest


def require(program: str) -> str:
    """Path of the program. Skips the test without it, or fails where CI=true says that all must run."""
    path = shutil.which(program)
    if path is None:
        message = f"{program} is not installed; as root on Debian `make test` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
