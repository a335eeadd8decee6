"""The README's curl lines, as they stand there, against a server with the checkpoint that a reader has."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import ROOT, Server, serving
from tests.tools import require

README_ADDRESS = "http://127.0.0.1:8000"


def curl_lines() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
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


def check_answer(route: str, answer: dict[str, Any]) -> None:
    """What is said of the picture must be right, where the demo checkpoint is sure of it."""
    if route == "classify":
        assert answer["class"] == "кошка", answer
    elif route.startswith("rank/"):
        assert answer["ranking"][0]["index"] == 0, answer


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(ROOT / "checkpoints" / "demo", tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it: the clone's docs, and what earlier lines wrote."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "docs").symlink_to(ROOT / "docs")
    return folder


def test_readme_has_a_line_for_every_task() -> None:
    routes = {match for line in curl_lines() for match in re.findall(r"/v1/([a-z0-9/]+)", line)}
    assert routes >= {
        "text2image",
        "image2text",
        "text2text",
        "classify",
        "rank/images",
        "rank/texts",
        "jobs",
    }


def test_every_curl_line_answers_as_the_text_says(demo: Server, place: Path) -> None:
    require("curl")
    for command in curl_lines():
        assert command.startswith("curl ")
        aimed = command.replace(README_ADDRESS, demo.url).replace("curl ", "curl -sS --fail-with-body ", 1)
        reply = subprocess.run(
            ["bash", "-c", aimed], cwd=place, check=False, capture_output=True, text=True, timeout=120
        )
        assert reply.returncode == 0, f"{command}\n{reply.stdout}\n{reply.stderr}"
        if "-o picture.png" in command:
            assert (place / "picture.png").read_bytes().startswith(b"\x89PNG")
        else:
            answer = json.loads(reply.stdout)
            assert expected_keys(command) <= set(answer), command
            check_answer(route_of(command), answer)


def test_line_printed_by_serve_works(server_v2: Server, place: Path) -> None:
    require("curl")
    (line,) = re.findall(r"^  (curl .*)$", server_v2.text, flags=re.MULTILINE)
    aimed = line.replace("curl ", "curl -sS --fail-with-body ", 1).replace("picture.png", "printed.png")
    subprocess.run(["bash", "-c", aimed], cwd=place, check=True, timeout=120)
    assert (place / "printed.png").read_bytes().startswith(b"\x89PNG")
