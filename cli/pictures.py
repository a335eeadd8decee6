"""Pictures between the commands and the disk."""

from pathlib import Path

from cli.console import CliError

MAX_PICTURE_BYTES = 10 * 1000 * 1000


def read_picture(path: Path) -> bytes:
    """The file's bytes; what is in them is the server's or the model's to judge."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_PICTURE_BYTES:
        raise CliError(f"{path} has {len(data)} bytes; a picture may have {MAX_PICTURE_BYTES}")
    return data


def write_pictures(pictures: list[bytes], output: Path, suffix: str) -> list[Path]:
    """One picture goes to `output` itself if that names a file; several get numbers before the suffix.

    A folder (existing, or without a suffix) gets files named 1, 2, …
    """
    is_folder = output.is_dir() or not output.suffix
    numbered = is_folder or len(pictures) > 1
    stem = output / "picture" if is_folder else output.with_suffix("")
    ending = f".{suffix}" if is_folder else output.suffix
    paths = [
        stem.with_name(f"{stem.name}-{index}{ending}" if numbered else f"{stem.name}{ending}")
        for index in range(1, len(pictures) + 1)
    ]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for path, picture in zip(paths, pictures, strict=True):
            path.write_bytes(picture)
    except OSError as error:
        raise CliError(f"cannot write {error.filename}: {error.strerror}") from error
    return paths
