"""Reads tables: CSV and TSV with any delimiter and encoding, JSON lines, and lists of objects in JSON."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from training.data.examples import Example, FileImage
from training.data.reading import Reading, parse_json
from training.data.text import MAX_TABLE_BYTES, MAX_TEXT_BYTES, EncodingError, decode, read_bounded

DELIMITERS = (",", ";", "\t", "|")


def stays_inside(name: str) -> bool:
    """Whether a path is below the folder that it is relative to.

    A table of somebody else must not name the other files of this machine.
    """
    return not Path(name).is_absolute() and ".." not in Path(name).parts


class FindFile:
    """Finds the image file that a row names, below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> FileImage | None:
        path = self._folder / name
        return FileImage(path) if stays_inside(name) and path.is_file() else None


def read_csv(path: Path, reading: Reading, split: str = "train") -> Iterator[Example]:
    """Yield the examples of a table with a header."""
    try:
        text, encoding = decode(read_bounded(path, MAX_TABLE_BYTES), reading.columns.encoding)
    except EncodingError as error:
        reading.fault(str(path), str(error))
        return
    if encoding not in ("utf-8", "utf-8-sig"):
        reading.note(f"{path.name} is read as {encoding}")
    lines = io.StringIO(text, newline="")
    delimiter, skipped = _delimiter(path, lines)
    if delimiter not in ",\t":
        reading.note(f"{path.name} is read with the delimiter {delimiter!r}")
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    find = FindFile(path.parent)
    while True:
        try:
            row: dict[str | None, Any] | None = next(reader, None)
        except csv.Error as error:
            reading.fault(f"{path}:{reader.line_num + skipped}", str(error))
            return
        if row is None:
            return
        place = f"{path}:{reader.line_num + skipped}"
        if None in row or None in row.values():
            reading.fault(place, "the row and the header have different numbers of fields")
            continue
        yield from reading.examples(cast(dict[str, Any], row), place, find, split=split)


def _delimiter(path: Path, lines: io.StringIO) -> tuple[str, int]:
    """Return the delimiter, and the number of lines before the header; move to the header."""
    first = lines.readline()
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # written by Excel
        return first.strip()[4], 1
    lines.seek(0)
    if path.suffix.lower() == ".tsv":
        return "\t", 0
    unquoted = "".join(first.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count), 0


def read_jsonl(path: Path, reading: Reading, split: str = "train") -> Iterator[Example]:
    """Yield the examples of a file with one JSON object per line."""
    find = FindFile(path.parent)
    try:
        lines = read_bounded(path, MAX_TABLE_BYTES).splitlines()
    except EncodingError as error:
        reading.fault(str(path), str(error))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        if len(line) > MAX_TEXT_BYTES:
            reading.fault(place, f"the line is longer than {MAX_TEXT_BYTES} bytes")
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            reading.fault(place, str(error))
            continue
        yield from _object(row, place, reading, find, split)


def read_list(rows: list[Any], path: Path, reading: Reading, split: str = "train") -> Iterator[Example]:
    """Yield the examples of a JSON file with a list of objects."""
    find = FindFile(path.parent)
    for number, row in enumerate(rows):
        yield from _object(row, f"{path}[{number}]", reading, find, split)


def _object(row: Any, place: str, reading: Reading, find: FindFile, split: str) -> Iterator[Example]:
    if not isinstance(row, dict):
        reading.fault(place, "not a JSON object")
        return
    yield from reading.examples(cast(dict[str, Any], row), place, find, split=split)
