"""Folders of pictures with texts: CSV, JSON lines, tar shards, or a text file beside each picture.

Knows files and what may be wrong with them; every error names the file and the line. Pictures stay encoded
until they are asked for.
"""

import csv
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from model.images import PictureError, open_picture, to_square_pixels

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
TABLES = ("data.jsonl", "data.csv", "metadata.jsonl", "metadata.csv")
PICTURE_FIELDS = ("picture", "image", "file_name", "path")
TEXT_FIELDS = ("text", "caption", "label")


class DataError(ValueError):
    """Data that cannot be used; the message names the file, and the line where there is one."""


@dataclass(frozen=True)
class Example:
    """A picture and its text."""

    path: Path
    text: str
    place: str
    """Where it was found, for messages: `data.csv:7`."""
    offset: int = 0
    """Of the picture within `path`, in bytes."""
    size: int | None = None
    """In bytes; None for the whole file."""

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read() if self.size is None else file.read(self.size)

    def pixels(self, side: int) -> Tensor:
        """Shape = (3, side, side), in [0, 1]. Raises DataError if the picture cannot be read."""
        try:
            return to_square_pixels(open_picture(self.read()), side)
        except (OSError, PictureError) as error:
            raise DataError(f"{self.place}: {self.path.name}: {error}") from error


def read_examples(source: Path) -> list[Example]:
    """All examples of a folder, a table (.csv, .jsonl) or tar shards (a .tar file, or a folder of them).

    A folder is read by its table (one of TABLES), else by its shards, else by pictures with a .txt file of
    the same name beside each. Raises DataError.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist")
    if source.is_file():
        examples = list(_read_file(source))
    else:
        table = next((source / name for name in TABLES if (source / name).is_file()), None)
        shards = sorted(source.glob("*.tar"))
        if table is not None:
            examples = list(_read_file(table))
        elif shards:
            examples = [example for shard in shards for example in _read_tar(shard)]
        else:
            examples = list(_read_pairs(source))
    if not examples:
        raise DataError(f"{source} holds no picture with a text")
    return examples


def load_pixels(examples: Sequence[Example], side: int) -> Tensor:
    """Shape = (examples, 3, side, side), in [0, 1]."""
    return torch.stack([example.pixels(side) for example in examples])


def _read_file(path: Path) -> Iterator[Example]:
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".tar": _read_tar}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: no table; known are {', '.join(readers)}")
    return reader(path)


def _read_csv(path: Path) -> Iterator[Example]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(
                file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True
            )
            for row in reader:
                place = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{place}: the row has not as many fields as the header")
                yield _example(row, path.parent, place)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from error


def _read_jsonl(path: Path) -> Iterator[Example]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place}: no valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{place}: not a JSON object")
        yield _example(cast(dict[str, Any], row), path.parent, place)


def _example(row: dict[str, Any], folder: Path, place: str) -> Example:
    picture = _field(row, PICTURE_FIELDS, place)
    path = folder / picture
    if not path.is_file():
        raise DataError(f"{place}: the picture {picture} does not exist")
    return Example(path, _field(row, TEXT_FIELDS, place), place)


def _field(row: dict[str, Any], names: Sequence[str], place: str) -> str:
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{place}: {name} is not a text, or empty")
        return value.strip()
    raise DataError(f"{place}: none of the fields {', '.join(names)}")


def _read_tar(path: Path) -> Iterator[Example]:
    """Members of one stem belong together: 000.png and 000.txt (or .json with a text field)."""
    pictures: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, str] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                stem, suffix = str(Path(member.name).with_suffix("")), Path(member.name).suffix.lower()
                if not member.isfile():
                    continue
                if suffix in PICTURE_SUFFIXES:
                    pictures[stem] = member
                elif suffix in (".txt", ".json"):
                    file = archive.extractfile(member)
                    texts[stem] = _member_text(file.read() if file else b"", suffix, f"{path}:{member.name}")
    except tarfile.TarError as error:
        raise DataError(f"{path}: no readable uncompressed tar: {error}") from error
    for stem, member in pictures.items():
        if stem not in texts:
            raise DataError(f"{path}:{member.name}: no text stands beside the picture")
        yield Example(path, texts[stem], f"{path}:{member.name}", member.offset_data, member.size)


def _member_text(data: bytes, suffix: str, place: str) -> str:
    try:
        row = json.loads(data) if suffix == ".json" else {"text": data.decode()}
    except ValueError as error:
        raise DataError(f"{place}: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: not a JSON object")
    return _field(cast(dict[str, Any], row), TEXT_FIELDS, place)


def _read_pairs(folder: Path) -> Iterator[Example]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            continue
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            raise DataError(f"{path}: no text file {beside.name} stands beside the picture")
        text = beside.read_text(encoding="utf-8").strip()
        if not text:
            raise DataError(f"{beside}:1: the text is empty")
        yield Example(path, text, str(path))
