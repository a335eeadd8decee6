"""The commands that draw, describe and classify, with a server and without one."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.servers import ROOT, Server


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
    greedy = ("--top-k", "1", "--template", "на картинке", *where)
    expected = json.loads((tiny_v2 / "expected.json").read_text())["image2text.greedy.0"]["texts"][0]
    assert rudolph("caption", picture, *greedy).stdout.strip() == expected
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
