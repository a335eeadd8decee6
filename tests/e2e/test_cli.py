"""The commands that draw, describe and classify, with a server and without one."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.servers import ROOT, Server


def rudolph(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    reply = subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
    )
    assert reply.returncode == 0, reply.stderr
    return reply


@pytest.fixture(params=["server", "local"])
def where(request: pytest.FixtureRequest, tiny_v2: Path) -> list[str]:
    if request.param == "local":
        return ["--local", "--model", str(tiny_v2), "--dtype", "float32"]
    server: Server = request.getfixturevalue("server_v2")
    return ["--server", server.url]


def test_generate_writes_the_pictures_that_the_server_draws(
    where: list[str], server_v2: Server, tmp_path: Path
) -> None:
    reply = rudolph("generate", "рыжий кот", "-n", "2", "--seed", "7", "-o", tmp_path / "out", *where)
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["picture-1.png", "picture-2.png"]
    body = {"prompt": "рыжий кот", "n": 2, "seed": 7}
    images = server_v2.client.post("/v1/text2image", json=body).json()["images"]
    for file, image in zip(files, images, strict=True):
        assert file.read_bytes() == base64.b64decode(image["b64_json"])
        with Image.open(file) as picture:
            assert picture.size == (32, 32)
    assert "seed 7" in reply.stdout
    assert "seed 8" in reply.stdout


def test_caption_prints_a_text(where: list[str], tiny_v2: Path, tmp_path: Path) -> None:
    picture = tiny_v2 / "picture0.png"
    template = ("--template", "на картинке", *where)
    greedy = ("--top-k", "1", *template)
    expected = json.loads((tiny_v2 / "expected.json").read_text())["image2text.greedy.0"]["texts"][0]
    assert rudolph("caption", picture, *greedy).stdout.strip() == expected
    assert rudolph("caption", picture, "--min-p", "1", *template).stdout.strip() == expected
    if "--server" in where:
        rudolph("caption", picture, "-o", tmp_path / "caption.txt", *greedy)
        assert (tmp_path / "caption.txt").read_text().strip() == expected


def test_classify_names_the_class(where: list[str], tiny_v2: Path, tmp_path: Path) -> None:
    expected = json.loads((tiny_v2 / "expected.json").read_text())["classify.0"]
    file = tmp_path / "classes.json"
    options = ("--template", expected["template"], *where)
    table = rudolph("classify", tiny_v2 / "picture0.png", *expected["classes"], *options).stdout
    assert table.splitlines()[1].split()[0] == expected["class"]
    if "--server" in where:
        rudolph("classify", tiny_v2 / "picture0.png", *expected["classes"], "-o", file, *options)
        assert json.loads(file.read_text())["class"] == expected["class"]


@pytest.mark.parametrize(
    ("name", "kind"), [("cat.jpg", "JPEG"), ("cat.WebP", "WEBP"), ("cat [/b] :dog:.png", "PNG")]
)
def test_suffix_chooses_the_format(server_v2: Server, tmp_path: Path, name: str, kind: str) -> None:
    reply = rudolph("generate", "кот", "--server", server_v2.url, "-o", tmp_path / "new" / name)
    with Image.open(tmp_path / "new" / name) as picture:
        assert picture.format == kind
    assert str(tmp_path / "new" / name) in reply.stdout


def test_results_go_to_standard_output(server_v2: Server, tiny_v2: Path) -> None:
    server = ("--server", server_v2.url, "-o", "-")
    command = [sys.executable, "-m", "cli", "generate", "кот", *server, "--format", "jpeg"]
    reply = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, timeout=240)
    assert Image.open(io.BytesIO(reply.stdout)).format == "JPEG"
    assert b"seed" in reply.stderr
    assert not (ROOT / "-").exists()
    classes = ("кот [cat]", ":dog:")
    printed = rudolph("classify", tiny_v2 / "picture0.png", *classes, *server).stdout
    scores = json.loads(printed)["scores"]
    assert {score["class"] for score in scores} == set(classes)
    assert sum(score["probability"] for score in scores) == pytest.approx(1)
    assert rudolph("caption", tiny_v2 / "picture0.png", *server, "--template", "на").stdout.startswith("на")


def test_table_has_every_name_as_it_is_in_one_line_a_row(server_v2: Server, tiny_v2: Path) -> None:
    classes = ("кот [cat]", ":dog:", "дом [/home]", "оченьдлинноеназвание" * 6)
    table = rudolph("classify", tiny_v2 / "picture0.png", *classes, "--server", server_v2.url).stdout
    assert len(table.splitlines()) == 1 + len(classes)
    for name in classes:
        assert name in table


def test_doctor_finds_nothing_missing_here(tiny_v2: Path) -> None:
    reply = rudolph("doctor", "--model", tiny_v2, "--device", "cpu")
    for word in ("Python", "torch", "float", "checkpoint", "Redis"):
        assert word in reply.stdout


def test_doctor_names_what_is_missing_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    reply = subprocess.run(
        [
            sys.executable,
            "-m",
            "cli",
            "doctor",
            "--model",
            str(tmp_path),
            "--redis-url",
            "redis://127.0.0.1:9",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert reply.returncode == 1
    assert "Traceback" not in reply.stderr
    assert reply.stdout.count("missing") >= 2
    assert "rudolph download" in reply.stdout
