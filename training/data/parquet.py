"""Reads parquet files, as the hub stores data sets: images as bytes, classes as numbers with names."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from training.data.examples import Example
from training.data.folders import SPLITS
from training.data.reading import PICTURE_FIELDS, Reading
from training.data.tables import FindFile
from training.extras import require

EXTRA = "parquet"


@dataclass(frozen=True)
class ParquetImage:
    """An image inside a parquet file."""

    path: Path
    column: str
    group: int
    index: int

    @property
    def name(self) -> str:
        return f"{self.column} of row group {self.group}, row {self.index}"

    def read(self) -> bytes:
        value = _column(self.path, self.group, self.column)[self.index].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise OSError("the image has no bytes")
        return data


def read_parquet(path: Path, reading: Reading) -> Iterator[Example]:
    """Yield the examples of a file. The images stay in the file until they are needed."""
    parquet = require("pyarrow.parquet", EXTRA, f"{path.name}: a parquet file")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        reading.fault(str(path), f"not a readable parquet file: {error}")
        return
    schema = file.schema_arrow
    classes = _class_names(schema)
    column = _image_column(schema, reading.columns.image)
    # Splits of the hub: train-00000-of-00002.parquet.
    split = SPLITS.get(path.name.split("-")[0].split(".")[0].lower(), "train")
    others = [name for name in schema.names if name != column or not _holds_bytes(schema, name)]
    number = 0
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group, columns=others).to_pylist()
        for index, row in enumerate(rows):
            number += 1
            place = f"{path}:{number}"
            for name, names in classes.items():
                if isinstance(row.get(name), int) and 0 <= row[name] < len(names):
                    row[name] = names[row[name]]
            image = None
            if column is not None and _holds_bytes(schema, column):
                image = ParquetImage(path, column, group, index)
            yield from reading.examples(row, place, FindFile(path.parent), split=split, image=image)


@lru_cache(maxsize=2)
def _column(path: Path, group: int, column: str) -> Any:
    parquet = require("pyarrow.parquet", EXTRA, "a parquet file")
    return parquet.ParquetFile(path).read_row_group(group, columns=[column]).column(column)


def _image_column(schema: Any, chosen: str | None) -> str | None:
    names = {name.lower(): name for name in schema.names}
    wanted = PICTURE_FIELDS if chosen is None else (chosen.lower(),)
    return next((names[name] for name in wanted if name in names), None)


def _holds_bytes(schema: Any, name: str) -> bool:
    types = require("pyarrow.types", EXTRA, "a parquet file")
    kind = schema.field(name).type
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_struct(kind)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of numbered classes, from the metadata that the hub's library writes."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return {}
    try:
        features = json.loads(metadata)["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if "names" in feature}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
