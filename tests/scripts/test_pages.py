"""Code blocks of the documents: found, marked, and compared with what a run gives."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image
from typer.core import TyperGroup

from cli.main import app
from scripts.lint.commands import check_commands
from scripts.pages.blocks import blocks, commands, outputs, with_outputs
from scripts.pages.comparing import same_image, same_output

ROOT = Path(__file__).resolve().parents[2]
PAGE = """# Page

```sh
echo 1
```

<!-- not run: needs a GPU -->

```sh
echo 2
```

<!-- exits with 3 -->

```sh
exit 3
```

<!-- output: 2 -->

```text
old
```
"""


def test_blocks_marks_and_outputs_of_a_page() -> None:
    assert [(block.code, block.exit_code) for block in commands(PAGE)] == [("echo 1\n", 0), ("exit 3\n", 3)]
    assert outputs(PAGE) == {1: "old"}
    assert outputs(with_outputs(PAGE, ["1", "new"])) == {1: "new"}
    assert with_outputs(PAGE, ["1", "old"]) == PAGE


def test_a_command_without_a_test_and_without_a_mark_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    assert [finding.line for finding in check_commands(tmp_path, "page.md")] == [3, 15]


@pytest.mark.parametrize(
    ("stored", "new", "expected"),
    [
        (
            '{"id": "a", "texts": ["сова"], "score": 1.0}',
            '{"id": "b", "texts": ["сова"], "score": 1.001}',
            True,
        ),
        ('{"texts": ["сова"]}', '{"texts": ["кот"]}', False),
        ('{"score": 1.0}', '{"score": 1.2}', False),
        ('{"texts": [1, 2]}', '{"texts": [1]}', False),
        ('{"texts": []}', '{"texts": [], "seed": 1}', False),
        ("cat  0.5001\n", "cat 0.5002", True),
        ("cat 0.5001\n", "cat 0.6", False),
        ("cat 0.5001\n", "owl 0.5001", False),
    ],
)
def test_outputs_are_the_same_if_they_say_the_same(stored: str, new: str, expected: bool) -> None:
    assert same_output(stored, new) is expected


def test_images_are_the_same_if_few_pixels_differ(tmp_path: Path) -> None:
    grey, white = Image.new("RGB", (8, 8), "grey"), Image.new("RGB", (8, 8), "white")
    grey.save(tmp_path / "grey.png")
    assert same_image(tmp_path / "grey.png", grey)
    assert not same_image(tmp_path / "grey.png", white)
    assert not same_image(tmp_path / "grey.png", Image.new("RGB", (9, 8), "grey"))


def rudolph_lines() -> list[str]:
    """Every command of `rudolph` in a code block of a document, without its comment."""
    pages = [ROOT / name for name in ("README.md", "README.ru.md", "CONTRIBUTING.md")]
    pages += (page for page in (ROOT / "docs").rglob("*.md") if page.name != "cli.md")
    found = [
        line.strip()
        for page in pages
        for block in blocks(page.read_text(encoding="utf-8"))
        if block.language == "sh"
        for line in block.code.replace("\\\n", " ").splitlines()
    ]
    # `-n rudolph` is the namespace of kubectl.
    matches = [re.search(r"(?:^|(?<!-n)\s|/)rudolph ([a-z].*?)(?:\s+#.*)?$", line) for line in found]
    return sorted({match[1] for match in matches if match})


def test_the_documents_have_commands() -> None:
    assert len(rudolph_lines()) > 15


@pytest.mark.parametrize("line", rudolph_lines())
def test_every_command_and_option_in_the_documents_exists(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)
    while isinstance(command, TyperGroup):
        name = words.pop(0)
        assert name in command.commands, f"rudolph has no command {name!r}"
        command = command.commands[name]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if re.fullmatch(r"--?[a-z-]+", word)} <= known
