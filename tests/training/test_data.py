"""Reading pictures with texts, and what is said when something is wrong with them."""

import contextlib
import io
import random
import tarfile
from pathlib import Path

import pytest
import torch

from training.data import DataError, load_pixels, read_examples
from training.data.examples import FileImage


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def test_a_table_a_folder_and_a_tar_give_the_same_examples(pictures: Path, tmp_path: Path) -> None:
    table = read_examples(pictures / "data.jsonl")
    beside = tmp_path / "beside"
    beside.mkdir()
    rows = ["picture,text"]
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for example in table:
            name = example.image.name if example.image else ""
            (beside / name).write_bytes(example.read())
            (beside / name).with_suffix(".txt").write_text(example.text, encoding="utf-8")
            archive.add(pictures / name, name)
            _add(archive, f"{Path(name).stem}.txt", example.text.encode())
            rows.append(f"{name},{example.text}")
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
        ("{", "not valid JSON"),
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
    with pytest.raises(
        DataError, match=r"table\.csv:3: the row and the header have different numbers of fields"
    ):
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
    with pytest.raises(DataError, match=r"shard\.tar:0\.png: there is no text for the image"):
        read_examples(tmp_path / "shard.tar")


def test_an_empty_folder_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no example with an image and a text"):
        read_examples(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_examples(tmp_path / "none")


def _sparse_tar(path: Path) -> None:
    """A member of a few bytes that claims six gigabytes, by the old GNU header."""
    member = tarfile.TarInfo("a.txt")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"00000000000\0"
    header[398:410] = b"00000000000\0"
    header[483:495] = f"{6 << 30:011o}\0".encode()
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(bytes(header) + bytes(1024))


def _long_tar(path: Path) -> None:
    member = tarfile.TarInfo("a.txt")
    member.size = 6 << 30
    path.write_bytes(member.tobuf() + bytes(1024))


def _deep_json_tar(path: Path) -> None:
    data = b'{"text":' + b"[" * 100_000
    member = tarfile.TarInfo("a.json")
    member.size = len(data)
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(data))


def _picture_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        text = tarfile.TarInfo("a.txt")
        text.size = 1
        archive.addfile(text, io.BytesIO(b"a"))
    member = tarfile.TarInfo("a.png")
    member.size = 6 << 30
    path.write_bytes(path.read_bytes()[:1024] + member.tobuf() + bytes(1024))


@pytest.mark.parametrize("write", [_sparse_tar, _long_tar, _deep_json_tar, _picture_tar])
def test_an_archive_that_would_fill_the_memory_is_refused_by_name(tmp_path: Path, write) -> None:
    write(tmp_path / "shard.tar")
    with pytest.raises(DataError, match=r"shard\.tar"):
        read_examples(tmp_path / "shard.tar")


@pytest.mark.parametrize("seed", range(3))
def test_a_mutated_archive_is_read_or_refused_as_data(pictures: Path, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "source.tar"
    with tarfile.open(source, "w") as archive:
        for example in read_examples(pictures / "data.jsonl")[:3]:
            assert isinstance(example.image, FileImage)
            archive.add(example.image.path, example.image.path.name)
            member = tarfile.TarInfo(f"{example.image.path.stem}.txt")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"text"))
    data = source.read_bytes()
    random_ = random.Random(seed)
    for _ in range(150):
        mutated = bytearray(data)
        for _ in range(random_.randint(1, 6)):
            mutated[random_.randrange(len(mutated))] = random_.randrange(256)
        (tmp_path / "shard.tar").write_bytes(
            mutated[: random_.choice((len(data), random_.randrange(len(data))))]
        )
        with contextlib.suppress(DataError):
            load_pixels(read_examples(tmp_path / "shard.tar"), 32)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.jsonl", b"[" * 100_000),
        ("data.jsonl", b'{"image": "a.png", "text": "' + b"a" * (2 << 20) + b'"}'),
        ("data.csv", b"picture,text\n" + b"a" * (2 << 20) + b",b\n"),
        ("data.csv", b"picture,text\n\0,b\n"),
        ("data.jsonl", b'{"image": "a\\u0000.png", "text": "b"}'),
        ("data.jsonl", b'{"image": "/etc/hostname", "text": "b"}'),
        ("data.jsonl", b'{"image": "../secret.png", "text": "b"}'),
        ("data.csv", b"picture,text\nsub/../../secret.png,b\n"),
    ],
)
def test_a_table_is_bounded_and_stays_in_its_folder(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_examples(folder)


def test_a_picture_or_text_of_absurd_size_is_refused(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    with picture.open("wb") as file:
        file.truncate(1 << 33)
    picture.with_suffix(".txt").write_text("a")
    with pytest.raises(DataError, match=r"a\.png.*larger"):
        load_pixels(read_examples(tmp_path), 32)
    with picture.with_suffix(".txt").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(DataError, match=r"a\.txt.*larger"):
        read_examples(tmp_path)
