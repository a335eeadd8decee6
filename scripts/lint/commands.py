"""Commands in documents that no test runs and that have no mark."""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from scripts.lint.findings import Finding
from scripts.pages.blocks import NOT_RUN, blocks

RUN_PAGES = (
    "README.md",
    "README.ru.md",
    "docs/tutorial.md",
    "docs/tutorial.ru.md",
    "docs/clients.md",
    "docs/tasks/*.md",
)
"""Pages whose commands tests run: tests/e2e/test_readme.py, test_docs.py and test_task_pages.py."""
GENERATED = ("docs/cli.md",)


def check_commands(root: Path, path: str) -> Iterator[Finding]:
    """Yield a finding for every block of commands that no test runs and that has no mark with its reason."""
    if path in GENERATED or any(fnmatch(path, page) for page in RUN_PAGES):
        return
    text = (root / path).read_text(encoding="utf-8")
    for block in blocks(text):
        if block.is_run:
            line = text.count("\n", 0, block.start)
            marks = " or ".join(f"<!-- {mark} … -->" for mark in NOT_RUN)
            yield Finding(path, line, f"no test runs these commands; run them, or write {marks}")
