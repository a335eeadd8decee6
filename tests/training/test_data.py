"""Reading pictures with texts, and what is said when something is wrong with them."""

import io
import tarfile
from pathlib import Path

import pytest
import torch

from training.data import DataError, load_pixels, read_examples


def test_a_table_a_folder_and_a_tar_give_the_same_examples(pictures: Path, tmp_path: Path) -> None:
    table = read_examples(pictures / "data.jsonl")
    beside = tmp_path / "beside"
    beside.mkdir()
    rows = ["picture,text"]
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for example in table:
            (beside / example.path.name).write_bytes(example.read())
            (beside / example.path.name).with_suffix(".txt").write_text(example.text, encoding="utf-8")
            archive.add(example.path, example.path.name)
            text = example.text.encode()
            member = tarfile.TarInfo(f"{example.path.stem}.txt")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
            rows.append(f"{example.path.name},{example.text}")
    (pictures / "data.csv").write_text("\n".join(rows), encoding="utf-8")
    expected = [example.text for example in table]
    for source in (pictures, pictures / "data.csv", beside, tmp_path / "shard.tar"):
        found = read_examples(source)
        assert [example.text for example in found] == expected, source
        assert torch.equal(load_pixels(found, 32), load_pixels(table, 32))
    assert load_pixels(table, 32).shape == (8, 3, 32, 32)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no valid JSON"),
        ("[1]", "not a JSON object"),
        ('{"picture": "none.png", "text": "кот"}', "none.png does not exist"),
        ('{"picture": "0.png"}', "none of the fields text"),
        ('{"picture": "0.png", "text": " "}', "empty"),
        ('{"picture": 5, "text": "кот"}', "picture is not a text"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(pictures: Path, line: str, complaint: str) -> None:
    table = pictures / "data.jsonl"
    table.write_text('{"picture": "0.png", "text": "круг"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"data\.jsonl:3: .*{complaint}"):
        read_examples(pictures)


def test_a_csv_row_with_a_field_too_few_is_named(pictures: Path) -> None:
    (pictures / "table.csv").write_text("picture,text\n0.png,круг\n1.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"table\.csv:3: the row has not as many fields"):
        read_examples(pictures / "table.csv")


def test_a_broken_picture_is_named_with_the_line_that_asks_for_it(pictures: Path) -> None:
    (pictures / "3.png").write_bytes(b"no picture")
    examples = read_examples(pictures)
    with pytest.raises(DataError, match=r"data\.jsonl:4: 3\.png"):
        load_pixels(examples, 32)


def test_a_picture_without_a_text_is_named(pictures: Path, tmp_path: Path) -> None:
    (pictures / "data.jsonl").unlink()
    with pytest.raises(DataError, match=r"no text file 0\.txt"):
        read_examples(pictures)
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(pictures / "0.png", "0.png")
    with pytest.raises(DataError, match=r"shard\.tar:0\.png: no text stands beside"):
        read_examples(tmp_path / "shard.tar")


def test_an_empty_folder_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        read_examples(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_examples(tmp_path / "none")
