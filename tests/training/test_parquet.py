"""Parquet files, as the hub writes them."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from training.data import Columns, Needs, load_pixels, read_data, read_examples

pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")


def _png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return file.getvalue()


def _write(path: Path, columns: dict[str, list[object]], *, classes: list[str] | None = None) -> Path:
    table = pyarrow.table(columns)
    if classes is not None:
        features = {"label": {"names": classes, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        metadata = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=2)
    return path


def _images(colours: tuple[str, ...] = ("red", "green", "blue")) -> list[object]:
    return [{"bytes": _png(colour), "path": None} for colour in colours]


def test_images_and_classes_of_a_hub_data_set(tmp_path: Path) -> None:
    columns = {"image": _images(), "label": [1, 0, 1]}
    for split in ("train", "test"):
        _write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", columns, classes=["кот", "пёс"])
    examples = read_examples(tmp_path)
    assert [(e.text, e.split) for e in examples] == [
        *(("пёс", "test"), ("кот", "test"), ("пёс", "test")),
        *(("пёс", "train"), ("кот", "train"), ("пёс", "train")),
    ]
    pixels = load_pixels(examples[:3], 8)
    assert pixels[0, 0].mean() == pytest.approx(1.0)
    assert pixels[2, 2].mean() == pytest.approx(1.0)


def test_bytes_in_a_plain_column_with_unusual_names(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"foto": [_png("red")], "podpis": ["красный"]}
    path = _write(tmp_path / "a.parquet", columns)
    (example,) = read_examples(path, columns=Columns(image="foto", text="podpis"))
    assert example.text == "красный"
    assert example.pixels(8).shape == (3, 8, 8)


def test_paths_questions_and_faults(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    columns: dict[str, list[object]] = {
        "image": ["0.png", "none.png", None],
        "question": ["что", "что", "сколько"],
        "answer": ["круг", "круг", "два"],
    }
    path = _write(tmp_path / "a.parquet", columns)
    examples, reading = read_data(path, Needs.ANSWERS)
    assert [(e.text, e.image is None) for e in examples] == [("круг", False), ("два", True)]
    (fault,) = reading.faults
    assert str(fault).startswith(f"{path}:2: the image none.png does not exist")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no table")
    _, reading = read_data(tmp_path / "a.parquet")
    assert "not a readable parquet file" in str(reading.faults[0])
