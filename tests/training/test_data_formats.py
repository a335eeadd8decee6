"""Every format in which people have data sets, and the faults that each of them has in practice."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from training.data import Columns, DataError, Needs, read_data, read_examples

TEXT = "красный круг"


def _picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (200, 30, 30)).save(path)
    return path


def _tar(path: Path, members: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "PNG")
    return file.getvalue()


def _texts(source: Path, needs: Needs = Needs.PAIRS, columns: Columns | None = None) -> list[str]:
    return [example.text for example in read_examples(source, needs, columns)]


def _message(source: Path, needs: Needs = Needs.PAIRS, columns: Columns | None = None) -> str:
    with pytest.raises(DataError) as raised:
        read_examples(source, needs, columns)
    return str(raised.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251", "koi8-r", "cp866"])
def test_the_delimiter_and_the_encoding_of_a_table_are_found(
    delimiter: str, encoding: str, tmp_path: Path
) -> None:
    _picture(tmp_path / "0.png")
    rows = f"file_name{delimiter}text\r\n0.png{delimiter}{TEXT}\r\n"
    (tmp_path / "any.csv").write_bytes(rows.encode(encoding))
    examples, reading = read_data(tmp_path)
    assert [example.text for example in examples] == [TEXT], reading.faults
    assert not reading.faults


def test_a_table_of_excel_with_a_separator_line_names_the_right_lines(tmp_path: Path) -> None:
    _picture(tmp_path / "0.png")
    (tmp_path / "any.csv").write_text("sep=;\nimage;text\n0.png;кот\nнет.png;кот\n", encoding="utf-8")
    examples, reading = read_data(tmp_path / "any.csv")
    assert len(examples) == 1
    assert reading.faults[0].place.endswith("any.csv:4")


@pytest.mark.parametrize("header", ["Image,Text", " image , TEXT", "файл,подпись", "picture,caption"])
def test_columns_are_found_in_any_case_and_in_russian(header: str, tmp_path: Path) -> None:
    _picture(tmp_path / "0.png")
    (tmp_path / "any.csv").write_text(f"{header}\n0.png,кот\n", encoding="utf-8")
    assert _texts(tmp_path) == ["кот"]


def test_an_unknown_column_names_those_that_are_there_and_the_option(tmp_path: Path) -> None:
    _picture(tmp_path / "0.png")
    table = tmp_path / "any.csv"
    table.write_text("foto,podpis\n0.png,кот\n", encoding="utf-8")
    message = _message(table)
    assert "the columns are: foto, podpis" in message
    assert "--picture-column" in message
    assert _texts(table, columns=Columns(image="Foto", text="podpis")) == ["кот"]
    assert "there is no column bild" in _message(table, columns=Columns(image="bild"))


def test_bytes_in_no_encoding_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    _picture(tmp_path / "0.png")
    (tmp_path / "0.txt").write_bytes(b"\x81\x8d\xff\x00\x90")
    message = _message(tmp_path)
    assert "0.txt" in message
    assert "save the file as UTF-8" in message
    (tmp_path / "0.txt").write_bytes("кот".encode("cp1251") + b"\x98")
    message = _message(tmp_path, columns=Columns(encoding="cp1251"))
    assert "0.txt" in message
    assert "--encoding" in message
    assert "no encoding 'klingon'" in _message(tmp_path, columns=Columns(encoding="klingon"))


def test_a_byte_order_mark_is_no_letter_and_old_encodings_work_beside_images(tmp_path: Path) -> None:
    for index, encoding in enumerate(("utf-8-sig", "cp1251", "utf-16")):
        _picture(tmp_path / f"{index}.png").with_suffix(".txt").write_bytes(TEXT.encode(encoding))
    assert _texts(tmp_path) == [TEXT] * 3


def test_class_folders_and_hidden_files(tmp_path: Path) -> None:
    _picture(tmp_path / "кот" / "0.png")
    _picture(tmp_path / "белый_медведь" / "0.jpg")
    _picture(tmp_path / ".ipynb_checkpoints" / "0.png")
    (tmp_path / "кот" / "._0.png").write_bytes(b"no image")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "0.png").write_bytes(b"no image")
    assert sorted(_texts(tmp_path)) == ["белый медведь", "кот"]


def test_an_imagefolder_with_splits_by_metadata_and_by_class(tmp_path: Path) -> None:
    _picture(tmp_path / "train" / "0.png")
    row = json.dumps({"file_name": "0.png", "text": "кот"}, ensure_ascii=False)
    (tmp_path / "train" / "metadata.jsonl").write_text(row, encoding="utf-8")
    _picture(tmp_path / "test" / "рыба" / "1.png")
    _picture(tmp_path / "validation" / "дом" / "2.png")
    splits = {example.text: example.split for example in read_examples(tmp_path)}
    assert splits == {"кот": "train", "рыба": "test", "дом": "validation"}


def test_coco_captions_in_a_file_and_in_its_usual_folders(tmp_path: Path) -> None:
    _picture(tmp_path / "train2014" / "COCO_train2014_000000000009.jpg")
    document = {
        "images": [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg"}],
        "annotations": [
            {"image_id": 9, "id": 1, "caption": "кот"},
            {"image_id": 9, "id": 2, "caption": "серый кот"},
            {"image_id": 7, "id": 3, "caption": "дом"},
        ],
    }
    path = tmp_path / "annotations" / "captions_train2014.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document), encoding="utf-8")
    for source in (path, tmp_path):
        examples, reading = read_data(source)
        assert [example.text for example in examples] == ["кот", "серый кот"]
        assert [str(fault) for fault in reading.faults] == [f"{path}:annotations[2]: no image has the id 7"]


def test_vqa_questions_with_their_annotations_in_another_file(tmp_path: Path) -> None:
    _picture(tmp_path / "COCO_val2014_000000000042.jpg")
    questions = {"questions": [{"question_id": 5, "image_id": 42, "question": "Какого цвета круг?"}]}
    answers = {"annotations": [{"question_id": 5, "image_id": 42, "multiple_choice_answer": "красный"}]}
    (tmp_path / "v2_questions.json").write_text(json.dumps(questions), encoding="utf-8")
    (tmp_path / "v2_annotations.json").write_text(json.dumps(answers), encoding="utf-8")
    (example,) = read_examples(tmp_path, Needs.ANSWERS)
    assert (example.question, example.text) == ("Какого цвета круг?", "красный")
    assert example.image is not None
    assert "use --task answer" in _message(tmp_path / "v2_questions.json")


def test_questions_with_and_without_an_image_in_one_table(tmp_path: Path) -> None:
    _picture(tmp_path / "0.png")
    rows = [
        {"image": "0.png", "question": "Что это?", "answer": "круг"},
        {"question": "Сколько будет два и два?", "answer": 4},
        {"image": None, "question": "Столица?", "answers": [{"answer": "Москва"}, {"answer": "город"}]},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "data.jsonl").write_text(text, encoding="utf-8")
    examples = read_examples(tmp_path, Needs.ANSWERS)
    assert [(e.text, e.image is None) for e in examples] == [("круг", False), ("4", True), ("Москва", True)]


def test_several_captions_of_an_image_are_several_examples(tmp_path: Path) -> None:
    _picture(tmp_path / "0.png")
    row = json.dumps([{"image": "0.png", "captions": ["кот", "серый кот"]}], ensure_ascii=False)
    (tmp_path / "data.json").write_text(row, encoding="utf-8")
    assert _texts(tmp_path) == ["кот", "серый кот"]


def test_shards_with_metadata_classes_and_duplicates(tmp_path: Path) -> None:
    members = {
        "0.png": _png(),
        "0.txt": "кот".encode(),
        "0.json": b'{"width": 32, "key": "0"}',
        "1.jpg": _png(),
        "1.cls": b"7",
        "2.png": _png(),
        "2.json": '{"caption": "дом"}'.encode(),
    }
    assert _texts(_tar(tmp_path / "a.tar", members)) == ["кот", "7", "дом"]
    twice = {"0.png": _png(), "0.jpg": _png(), "0.txt": "кот".encode()}
    assert "0.jpg: a second image of the stem 0" in _message(_tar(tmp_path / "b.tar", twice))
    packed = _tar(tmp_path / "c.tar", members, "w:gz")
    assert "without compression" in _message(packed)
    half = tmp_path / "d.tar"
    half.write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    assert "d.tar" in _message(half)


def test_all_faults_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    _picture(tmp_path / "0.png")
    lines = ['{"image": "0.png", "text": "кот"}', "{", '{"image": "1.png", "text": "кот"}', "[]"]
    (tmp_path / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    examples, reading = read_data(tmp_path)
    assert len(examples) == 1
    assert [fault.place.rsplit(":", 1)[1] for fault in reading.faults] == ["2", "3", "4"]
    assert "data.jsonl:2: not valid JSON" in (message := _message(tmp_path))
    assert "2 more" in message


def test_a_saved_arrow_data_set_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"arrow")
    assert "to_parquet" in _message(tmp_path)


def test_tables_named_after_splits_are_read_with_their_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        _picture(tmp_path / "images" / f"{split}.png")
        (tmp_path / f"{split}.csv").write_text(
            f"file_name,text\nimages/{split}.png,{split}\n", encoding="utf-8"
        )
    examples = read_examples(tmp_path)
    assert sorted((example.text, example.split) for example in examples) == [
        ("test", "test"),
        ("train", "train"),
    ]


def test_several_tables_without_such_names_are_a_fault(tmp_path: Path) -> None:
    _picture(tmp_path / "images" / "0.png")
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("file_name,text\nimages/0.png,кот\n", encoding="utf-8")
    assert "several tables (one.csv, two.csv); name one as DATA" in _message(tmp_path)


def test_a_coco_folder_is_read_by_its_captions_and_their_splits(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "1.png"}]
    rows = {
        "captions_train2017.json": [{"image_id": 1, "caption": "кот"}],
        "captions_val2017.json": [{"image_id": 1, "caption": "пёс"}],
        "instances_train2017.json": [{"image_id": 1, "bbox": [0, 0, 8, 8]}],
    }
    _picture(tmp_path / "1.png")
    (tmp_path / "annotations").mkdir()
    for name, annotations in rows.items():
        document = {"images": images, "annotations": annotations}
        (tmp_path / "annotations" / name).write_text(json.dumps(document), encoding="utf-8")
    examples = read_examples(tmp_path)
    assert [(example.text, example.split) for example in examples] == [
        ("кот", "train"),
        ("пёс", "validation"),
    ]
