"""Where results are written, and what is refused before anything is computed."""

import os
from pathlib import Path

import pytest

from cli.console import CliError
from cli.outputs import check_text_target, image_target, write_text
from tests.cli.test_main import assert_one_line, rudolph


@pytest.mark.parametrize(
    ("name", "image_format", "expected"),
    [
        ("a.png", None, "png"),
        ("a.jpg", None, "jpeg"),
        ("a.JPEG", None, "jpeg"),
        ("a.webp", "webp", "webp"),
        ("a.jpg", "jpg", "jpeg"),
        ("folder", None, "png"),
        ("folder", "WebP", "webp"),
        ("v1.2/", "jpeg", "jpeg"),
        ("-", None, "png"),
        ("-", "jpeg", "jpeg"),
    ],
)
def test_format_is_that_of_the_suffix_or_of_the_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, image_format: str | None, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert image_target(name, image_format, 1).image_format == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "image_format", "num_images", "words"),
    [
        ("a.xyz", None, 1, "End the name with .png, .jpg, .jpeg, .webp"),
        ("a.png", "jpeg", 1, "--format is jpeg"),
        ("a.png", "gif", 1, "--format must be jpeg, png or webp"),
        ("-", None, 2, "-n 2"),
        ("file/a.png", None, 1, "file is a file, not a folder"),
        ("file/folder", None, 1, "file is a file, not a folder"),
        ("file", None, 1, "file is a file, not a folder"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    image_format: str | None,
    num_images: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(CliError, match=words):
        image_target(name, image_format, num_images)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "кот", "-o", "a.xyz"],
        ["generate", "кот", "-o", "a.png", "--format", "webp"],
        ["generate", "кот", "-o", "-", "-n", "2"],
        ["caption", __file__, "-o", "."],
        ["classify", __file__, "кот", "дом", "-o", os.path.dirname(__file__)],
    ],
)
def test_command_refuses_its_target_before_it_asks_a_server(arguments: list[str]) -> None:
    reply = rudolph(*arguments, "--server", "http://127.0.0.1:1")
    assert_one_line(reply)
    assert "No answer from" not in reply.stderr


def test_folder_gets_the_next_free_numbers(tmp_path: Path) -> None:
    target = image_target(str(tmp_path / "pictures"), None, 2)
    assert [path.name for path in target.write([b"1", b"2"])] == ["picture-1.png", "picture-2.png"]
    (tmp_path / "pictures" / "picture-4.png").write_bytes(b"mine")
    assert [path.name for path in target.write([b"3", b"5"])] == ["picture-3.png", "picture-5.png"]
    written = [path.read_bytes() for path in sorted((tmp_path / "pictures").iterdir())]
    assert written == [b"1", b"2", b"3", b"mine", b"5"]


def test_several_pictures_of_a_named_file_are_numbered(tmp_path: Path) -> None:
    several = image_target(str(tmp_path / "cat.jpg"), None, 2)
    assert [path.name for path in several.write([b"1", b"2"])] == ["cat-1.jpg", "cat-2.jpg"]
    assert [path.name for path in several.write([b"3", b"4"])] == ["cat-3.jpg", "cat-4.jpg"]


def test_no_file_is_replaced_unless_that_is_asked_for(tmp_path: Path) -> None:
    picture, text = tmp_path / "cat.jpg", tmp_path / "cat.txt"
    target = image_target(str(picture), None, 1)
    assert target.write([b"first"]) == [picture]
    write_text(str(text), "first")
    for refused in (
        lambda: image_target(str(picture), None, 1),
        lambda: target.write([b"second"]),  # the file has appeared since the target was checked
        lambda: check_text_target(str(text)),
        lambda: write_text(str(text), "second"),
    ):
        with pytest.raises(CliError, match=r"exists\. Choose another name, or replace it with --force"):
            refused()
    assert (picture.read_bytes(), text.read_text()) == (b"first", "first")
    image_target(str(picture), None, 1, force=True).write([b"second"])
    check_text_target(str(text), force=True)
    write_text(str(text), "second", force=True)
    assert (picture.read_bytes(), text.read_text()) == (b"second", "second")


@pytest.mark.parametrize(
    "command", [["generate", "кот"], ["caption", __file__], ["classify", __file__, "а", "б"]]
)
def test_command_refuses_an_existing_file_before_it_asks_a_server(command: list[str], tmp_path: Path) -> None:
    existing = tmp_path / "a.png"
    existing.touch()
    reply = rudolph(*command, "-o", str(existing), "--server", "http://127.0.0.1:1")
    assert_one_line(reply, "a.png exists", "--force")
    forced = rudolph(*command, "-o", str(existing), "--force", "--server", "http://127.0.0.1:1")
    assert_one_line(forced, "No answer from")


def test_text_goes_to_a_new_folder_or_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "no" / "such" / "a.txt"
    check_text_target(str(file))
    assert write_text(str(file), "кот\n")
    assert file.read_text(encoding="utf-8") == "кот\n"
    for name in (None, "-"):
        check_text_target(name)
        assert not write_text(name, "дом\n")
    assert capsys.readouterr().out == "дом\nдом\n"
    assert not Path("-").exists()
