"""The commands of both READMEs and both tutorials, unchanged, against a server with the demo checkpoint."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.pages.blocks import Block, commands
from scripts.pages.running import make_clone, run_block
from tests.support.programs import require
from tests.support.servers import ROOT, Server

READMES = ("README.md", "README.ru.md")
TUTORIALS = ("docs/tutorial.md", "docs/tutorial.ru.md")
README_ADDRESS = "http://127.0.0.1:8000"


def curl_lines(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [block for block in blocks if re.search(r"^curl ", block, flags=re.MULTILINE)]
    return [re.sub(r"^#.*\n", "", block, flags=re.MULTILINE).strip() for block in lines]


def route_of(command: str) -> str:
    found = re.search(r"/v1/([a-z0-9/]+)", command)
    assert found
    return found[1]


def expected_keys(command: str) -> set[str]:
    return {
        "text2image": {"images"},
        "image2text": {"texts"},
        "classify": {"class", "label", "scores"},
        "rank/images": {"ranking"},
        "rank/texts": {"ranking"},
        "text2text": {"texts"},
        "jobs": {"id", "state"},
    }[route_of(command)]


def check_answer(command: str, answer: dict[str, Any]) -> None:
    """What is said of the image must be right, where the demo checkpoint is sure of it."""
    route, shows_owl = route_of(command), "owl.png" in command
    if route == "classify":
        assert answer["class"] == ("сова" if shows_owl else "кошка"), answer
    elif route.startswith("rank/"):
        assert answer["ranking"][0]["index"] == (1 if shows_owl else 0), answer
    elif route == "image2text" and shows_owl:
        assert answer["texts"][0]["text"] == "сова на зеленом фоне", answer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it: the clone's docs, and what earlier lines wrote."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "docs").symlink_to(ROOT / "docs")
    return folder


@pytest.mark.parametrize("document", READMES)
def test_readme_has_a_line_for_every_task(document: str) -> None:
    routes = {match for line in curl_lines(document) for match in re.findall(r"/v1/([a-z0-9/]+)", line)}
    assert routes >= {
        "text2image",
        "image2text",
        "text2text",
        "classify",
        "rank/images",
        "rank/texts",
        "jobs",
    }


@pytest.mark.parametrize("document", [*READMES, *TUTORIALS])
def test_every_curl_line_answers_as_the_text_says(demo: Server, place: Path, document: str) -> None:
    require("curl")
    lines = curl_lines(document)
    assert lines
    for command in lines:
        assert command.startswith("curl ")
        aimed = command.replace(README_ADDRESS, demo.url).replace("curl ", "curl -sS --fail-with-body ", 1)
        reply = subprocess.run(
            ["bash", "-c", aimed], cwd=place, check=False, capture_output=True, text=True, timeout=120
        )
        assert reply.returncode == 0, f"{command}\n{reply.stdout}\n{reply.stderr}"
        if written := re.search(r" -o (\w+\.png)", command):
            assert (place / written[1]).read_bytes().startswith(b"\x89PNG")
        else:
            answer = json.loads(reply.stdout)
            assert expected_keys(command) <= set(answer), command
            check_answer(command, answer)


def other_commands(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [block for block in commands(text) if "curl " not in block.code]


def test_the_lines_of_the_command_line_run(demo: Server, tmp_path: Path) -> None:
    found = other_commands("README.md")
    assert found
    place = make_clone(tmp_path)
    shutil.copyfile(ROOT / "docs" / "pictures" / "tasks" / "cat.png", place / "picture.png")
    outputs = "\n".join(run_block(block, demo.url, place) for block in found)
    assert outputs.count("кошка на синем фоне") >= 2  # the caption, and the best text of the ranking
    assert len(list((place / "pictures").iterdir())) == 4


def without_comments(block: Block) -> str:
    return re.sub(r"\s+#.*$", "", block.code, flags=re.MULTILINE)


@pytest.mark.parametrize("documents", [READMES, TUTORIALS])
def test_both_languages_have_the_same_commands(documents: tuple[str, str]) -> None:
    english, russian = map(curl_lines, documents)
    assert english == russian
    english, russian = ([without_comments(block) for block in other_commands(page)] for page in documents)
    assert english == russian


def test_line_printed_by_serve_works(server_v2: Server, place: Path) -> None:
    require("curl")
    (line,) = re.findall(r"^  (curl .*)$", server_v2.text, flags=re.MULTILINE)
    aimed = line.replace("curl ", "curl -sS --fail-with-body ", 1).replace("picture.png", "printed.png")
    subprocess.run(["bash", "-c", aimed], cwd=place, check=True, timeout=120)
    assert (place / "printed.png").read_bytes().startswith(b"\x89PNG")
