"""The commands that rank, redraw, continue and answer, with a server and without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.servers import ROOT, Server

DEMO = ROOT / "checkpoints" / "demo"
SHEET = ROOT / "docs" / "pictures"


def run(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, timeout=240, cwd=ROOT, input=stdin)


def rudolph(*arguments: str | Path, stdin: bytes | None = None) -> str:
    reply = run(*arguments, stdin=stdin)
    assert reply.returncode == 0, reply.stderr.decode()
    return reply.stdout.decode()


@pytest.fixture(params=["server", "local"])
def where(request: pytest.FixtureRequest, tiny_v2: Path) -> list[str]:
    if request.param == "local":
        return ["--local", "--model", str(tiny_v2), "--dtype", "float32"]
    server: Server = request.getfixturevalue("server_v2")
    return ["--server", server.url]


@pytest.fixture
def pictures(tiny_v2: Path) -> list[Path]:
    return [tiny_v2 / "picture0.png", tiny_v2 / "picture1.png"]


def test_images_are_ranked_as_the_route_ranks_them(
    where: list[str], server_v2: Server, pictures: list[Path]
) -> None:
    files = [("images", picture.read_bytes()) for picture in pictures]
    body = {"text": "рыжий кот"}
    expected = server_v2.client.post("/v1/rank/images", data=body, files=files).json()["ranking"]
    ranking = json.loads(rudolph("rank", "images", "рыжий кот", *pictures, "--json", *where))
    assert [item["image"] for item in ranking] == [str(pictures[item["index"]]) for item in expected]
    for name in ("score", "probability"):
        assert [item[name] for item in ranking] == pytest.approx([item[name] for item in expected])


def test_texts_are_ranked_best_first(where: list[str], pictures: list[Path]) -> None:
    texts = ["рыжий кот", "синий круг", "дом"]
    ranking = json.loads(rudolph("rank", "texts", pictures[0], *texts, "--json", *where))
    assert {item["text"] for item in ranking} == set(texts)
    assert [item["score"] for item in ranking] == sorted(item["score"] for item in ranking)
    table = rudolph("rank", "texts", "-", *texts, *where, stdin=pictures[0].read_bytes())
    assert [line.rsplit(None, 2)[0].strip() for line in table.splitlines()[1:]] == [
        i["text"] for i in ranking
    ]


def test_text_is_continued_as_the_route_continues_it(where: list[str], server_v2: Server) -> None:
    body = {"prompt": "рыжий", "n": 2, "seed": 3, "max_tokens": 8}
    expected = [text["text"] for text in server_v2.client.post("/v1/text2text", json=body).json()["texts"]]
    said = rudolph("continue", "рыжий", "-n", "2", "--seed", "3", "--max-tokens", "8", *where)
    assert said.splitlines() == expected


def test_the_kept_side_of_an_image_stays(where: list[str], pictures: list[Path], tmp_path: Path) -> None:
    options = ("--up", "2", "--seed", "5", "-o", tmp_path / "redrawn.png")
    shown = rudolph("redraw", pictures[0], "рыжий кот", *options, *where)
    assert shown.split()[0] == str(tmp_path / "redrawn.png")
    with Image.open(tmp_path / "redrawn.png") as image:
        assert image.size == (32, 32)


def test_the_suffix_of_a_redrawn_image_is_its_format(
    server_v2: Server, pictures: list[Path], tmp_path: Path
) -> None:
    options = ("--left", "2", "-o", tmp_path / "redrawn.jpg", "--server", server_v2.url)
    rudolph("redraw", pictures[0], "рыжий кот", *options)
    with Image.open(tmp_path / "redrawn.jpg") as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize("sides", [(), ("--up", "1", "--mask", "mask.png")])
def test_redraw_needs_one_of_mask_and_sides(pictures: list[Path], sides: tuple[str, ...]) -> None:
    reply = run("redraw", pictures[0], "рыжий кот", *sides)
    assert reply.returncode == 1
    assert "either --mask, or the sides to keep" in reply.stderr.decode()


def test_answer_of_a_checkpoint_that_only_describes_is_an_error() -> None:
    reply = run("answer", "Что на картинке?", "--image", SHEET / "ellipses.png", "--local", "--model", DEMO)
    assert reply.returncode == 1
    assert "fine-tuned" in reply.stderr.decode()


def test_models_lists_what_can_be_served(tmp_path: Path) -> None:
    (tmp_path / "350M").mkdir()
    (tmp_path / "350M" / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"x")
    (tmp_path / "broken" / "config.json").write_text("{}")
    (tmp_path / "no-checkpoint").mkdir()
    found = json.loads(rudolph("models", tmp_path, "--json"))
    assert [Path(item["folder"]).name for item in found] == ["demo", "350M", "broken"]
    assert [item["preset"] for item in found] == [None, "350M", None]
    assert "num_layers" in found[2]["fault"]
    assert "rudolph serve --model checkpoints/demo" in rudolph("models")


def test_a_folder_of_images_is_described_line_by_line(
    where: list[str], pictures: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    for picture in pictures:
        (folder / picture.name).write_bytes(picture.read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    options = ("-n", "1", "--candidates", "1", "--seed", "1")
    reply = run("caption", folder, *options, *where)
    lines = [json.loads(line) for line in reply.stdout.decode().splitlines()]
    assert reply.returncode == 0
    assert [Path(line["image"]).name for line in lines] == ["broken.png", "picture0.png", "picture1.png"]
    assert "error" in lines[0]
    for line, picture in zip(lines[1:], pictures, strict=True):
        assert line["text"] == rudolph("caption", picture, *options, *where).rstrip("\n")


def test_a_folder_of_images_is_classified_line_by_line(
    server_v2: Server, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "one.png").write_bytes(pictures[0].read_bytes())
    (tmp_path / "two.PNG").write_bytes(pictures[1].read_bytes())
    said = rudolph("classify", tmp_path, "кот", "дом", "--server", server_v2.url)
    assert [set(json.loads(line)) for line in said.splitlines()] == [
        {"image", "class", "label", "scores"}
    ] * 2


def test_folder_without_a_result_is_an_error(server_v2: Server, tmp_path: Path) -> None:
    reply = run("caption", tmp_path, "--server", server_v2.url)
    assert (reply.returncode, b"holds no image" in reply.stderr) == (1, True)
    (tmp_path / "broken.png").write_bytes(b"no image")
    reply = run("caption", tmp_path, "--server", server_v2.url)
    assert (reply.returncode, b"None of the 1 images has a result" in reply.stderr) == (1, True)


def test_generate_prints_seeds_and_scores_as_json(where: list[str], tmp_path: Path) -> None:
    options = ("-n", "2", "--candidates", "3", "--seed", "7", "-o", tmp_path / "out", "--json")
    images = json.loads(rudolph("generate", "рыжий кот", *options, *where))
    assert [Path(image["path"]).name for image in images] == ["picture-1.png", "picture-2.png"]
    assert images[0]["score"] <= images[1]["score"]
