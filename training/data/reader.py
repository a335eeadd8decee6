"""Finds the format of a data set and reads it. Every fault is collected, and names the file and the line."""

from collections.abc import Callable, Iterator
from pathlib import Path

from training.data.annotations import is_annotation, read_json
from training.data.examples import DataError, Example
from training.data.folders import SPLITS, read_images, split_folders
from training.data.parquet import read_parquet
from training.data.reading import Columns, Needs, Reading
from training.data.shards import read_tar
from training.data.tables import read_csv, read_jsonl

TABLES = ("data.jsonl", "data.csv", "data.tsv", "metadata.jsonl", "metadata.csv", "metadata.tsv")
Reader = Callable[[Path, Reading], Iterator[Example]]
READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".tar": read_tar,
    ".parquet": read_parquet,
}


def read_examples(source: Path, needs: Needs = Needs.PAIRS, columns: Columns | None = None) -> list[Example]:
    """Return all examples of a data set. Raises DataError for the first fault, with the number of faults."""
    examples, reading = read_data(source, needs, columns)
    reading.require(source, examples)
    return examples


def read_data(
    source: Path, needs: Needs = Needs.PAIRS, columns: Columns | None = None
) -> tuple[list[Example], Reading]:
    """Return all usable examples, and the faults of the others. Raises DataError for an unknown format.

    source: a table (.csv, .tsv, .jsonl, .json), a shard (.tar), a parquet file, or a folder. A folder is read
    by its table, else its parquet files, else its shards, else its annotations (.json). Without these it is
    read by its splits (train, validation, test), by a .txt beside each image, or by class folders.
    """
    reading = Reading(needs, columns or Columns())
    if not source.exists():
        raise DataError(f"{source} does not exist")
    if source.is_file():
        reader = READERS.get(source.suffix.lower())
        if reader is None:
            raise DataError(f"{source}: not a table; known formats are {', '.join(READERS)}")
        return list(reader(source, reading)), reading
    return list(_read_folder(source, reading)), reading


def _read_folder(folder: Path, reading: Reading) -> Iterator[Example]:
    tables = _tables(folder)
    if len(tables) > 1:
        yield from _read_tables(folder, tables, reading)
        return
    described = tables or _described(folder)
    for path in described:
        yield from READERS[path.suffix.lower()](path, reading)
    if described:
        return
    splits = split_folders(folder)
    for split, path in splits:
        tables = _tables(path)
        if not tables:
            yield from read_images(path, reading, split)
        elif len(tables) > 1:
            yield from _read_tables(path, tables, reading)
        else:
            yield from _read_table(tables[0], reading, split)
    if not splits:
        if next(folder.glob("*.arrow"), None) or (folder / "dataset_dict.json").is_file():
            reading.fault(str(folder), "a saved Arrow data set; write it with `to_parquet`")
            return
        yield from read_images(folder, reading)


def _described(folder: Path) -> list[Path]:
    """Return the files that describe a folder's examples, all of one format; none if it has no such files."""
    for pattern in ("*.parquet", "data/*.parquet", "*.tar"):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    files = sorted((*folder.glob("*.json"), *folder.glob("annotations/*.json")))
    return [path for path in files if is_annotation(path)]


def _tables(folder: Path) -> list[Path]:
    """Return the table of a folder by its usual names, else all of its tables."""
    named = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if named is not None:
        return [named]
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".csv", ".tsv", ".jsonl")]


def _read_tables(folder: Path, tables: list[Path], reading: Reading) -> Iterator[Example]:
    """Read the tables of a folder that are named after splits."""
    names = [table.name for table in tables if table.stem.lower() not in SPLITS]
    if names:
        found = ", ".join(table.name for table in tables)
        reading.fault(str(folder), f"several tables ({found}); name one as DATA, or call them train, test, …")
        return
    for table in tables:
        yield from _read_table(table, reading, SPLITS[table.stem.lower()])


def _read_table(table: Path, reading: Reading, split: str) -> Iterator[Example]:
    read = read_jsonl if table.suffix.lower() == ".jsonl" else read_csv
    yield from read(table, reading, split)
