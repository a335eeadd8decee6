"""Image files that the commands read; `-` is standard input."""

import sys
from pathlib import Path

from cli.console import CliError
from images.bounds import MAX_IMAGE_BYTES

STDIN = "-"


def read_image(path: Path) -> bytes:
    """Return the bytes of a file. The server or the model checks that they are an image. Raises CliError."""
    try:
        data = sys.stdin.buffer.read(MAX_IMAGE_BYTES + 1) if str(path) == STDIN else path.read_bytes()
    except OSError as error:
        raise CliError(f"Cannot read {path}: {error.strerror}.") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise CliError(
            f"{path} has {len(data)} bytes. An image may have at most {MAX_IMAGE_BYTES}; scale it down."
        )
    return data
