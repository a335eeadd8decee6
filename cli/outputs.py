"""Targets for the results of a command: a file, a folder, or standard output for `-`.

A target is checked before anything is computed, and written afterwards.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from cli.console import CliError

STDOUT = "-"
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""Image format by file suffix."""
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class ImageTarget:
    """A file, a folder, or standard output if both are None."""

    image_format: str
    file: Path | None = None
    folder: Path | None = None
    replace: bool = False
    """A file that appeared since the target was checked is replaced."""

    def write(self, images: Sequence[bytes]) -> list[Path]:
        """Write the images and return their paths. A single image for a named file may replace a file."""
        try:
            if self.file is None and self.folder is None:
                sys.stdout.buffer.write(b"".join(images))
                sys.stdout.buffer.flush()
                return [Path(STDOUT)] * len(images)
            if self.file is not None and len(images) == 1:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                _write(self.file, images[0], replace=self.replace)
                return [self.file]
            stem = self.file.with_suffix("") if self.file else (self.folder or Path()) / "picture"
            suffix = self.file.suffix if self.file else _SUFFIXES[self.image_format]
            stem.parent.mkdir(parents=True, exist_ok=True)
            return _write_numbered(images, stem, suffix)
        except OSError as error:
            raise CliError(f"Cannot write {error.filename}: {error.strerror}.") from error


def image_target(name: str, image_format: str | None, num_images: int, *, force: bool = False) -> ImageTarget:
    """Return the target that `-o` names.

    A name with a suffix is a file, and its suffix selects the format. Any other name is a folder. Raises
    CliError if the name, the format and the number of images contradict each other.
    """
    known = sorted(set(FORMATS.values()))
    chosen = FORMATS.get(f".{image_format.lower()}") if image_format is not None else None
    if image_format is not None and chosen is None:
        raise CliError(f"--format must be {', '.join(known[:-1])} or {known[-1]}; got {image_format!r}.")
    if name == STDOUT:
        if num_images > 1:
            raise CliError(f"-o - writes one image; got -n {num_images}. Name a folder instead.")
        _refuse_terminal()
        return ImageTarget(chosen or "png")
    path = Path(name)
    if path.is_dir() or name.endswith("/") or not path.suffix:
        _check_folder(path)
        return ImageTarget(chosen or "png", folder=path)
    of_suffix = FORMATS.get(path.suffix.lower())
    if of_suffix is None:
        raise CliError(
            f"{name} has no known format. End the name with {', '.join(FORMATS)}, or with / for a folder."
        )
    if chosen not in (None, of_suffix):
        raise CliError(
            f"The suffix of {name} means {of_suffix}, but --format is {chosen}. Remove one of them."
        )
    _check_folder(path.parent)
    if num_images == 1:
        _check_replaces(path, force=force)
    return ImageTarget(of_suffix, file=path, replace=force)


def check_text_target(name: str | None, *, force: bool = False) -> None:
    """Raise CliError if no text can be written to the file that `-o` names."""
    if name in (None, STDOUT):
        return
    path = Path(str(name))
    if path.is_dir():
        raise CliError(f"{name} is a folder. Name a file.")
    _check_folder(path.parent)
    _check_replaces(path, force=force)


def write_text(name: str | None, text: str, *, force: bool = False) -> bool:
    """Write a text to the file that `-o` names, or to standard output. Return whether it was a file."""
    return write_lines(name, [text], force=force)


def write_lines(name: str | None, lines: Iterable[str], *, force: bool = False) -> bool:
    """As `write_text`, but write each line when it comes, so that an interruption loses none."""
    waiting = iter(lines)
    first = next(waiting, "")  # without it no file is made
    if name is None or name == STDOUT:
        for line in chain([first], waiting):
            sys.stdout.write(line)
            sys.stdout.flush()
        return False
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8", newline="") as file:
            for line in chain([first], waiting):
                file.write(line)
                file.flush()
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise CliError(f"Cannot write {name}: {error.strerror}.") from error
    return True


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    try:
        with path.open("wb" if replace else "xb") as file:
            file.write(data)
    except FileExistsError:
        raise _exists(path) from None


def _check_replaces(path: Path, *, force: bool) -> None:
    # A device or a pipe, such as /dev/stdout, has no content to lose.
    if not force and path.exists() and path.is_file():
        raise _exists(path)


def _exists(path: Path) -> CliError:
    return CliError(f"{path} exists. Choose another name, or replace it with --force.")


def _write_numbered(images: Sequence[bytes], stem: Path, suffix: str) -> list[Path]:
    """Write the images under the next free numbers, even if another process writes to the same folder."""
    paths: list[Path] = []
    numbers = count(1)
    for image in images:
        while True:
            path = stem.with_name(f"{stem.name}-{next(numbers)}{suffix}")
            try:
                with path.open("xb") as file:
                    file.write(image)
            except FileExistsError:
                continue
            paths.append(path)
            break
    return paths


def _check_folder(folder: Path) -> None:
    """Raise CliError if the folder cannot be created or written. It is created later, with the result."""
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), Path())
    if not nearest.is_dir():
        raise CliError(f"{nearest} is a file, not a folder. Choose another name.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise CliError(f"Cannot write to {nearest}: permission denied.")


def _refuse_terminal() -> None:
    if sys.stdout.isatty():
        raise CliError("Standard output is a terminal. Redirect it to a file: -o - > image.png")
