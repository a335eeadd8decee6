"""Paths of files in documents and docstrings that do not exist, and product code that names `tests/`."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from scripts.lint.findings import ROOT, Finding
from scripts.lint.prose import FENCES, blank, passages

LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.*{},-]+(?:/[\w.*{},-]+)*/?")
SOURCE_SUFFIXES = (".py", ".lua", ".c", ".h", ".md", ".sh", ".toml", ".yml")
GENERATED = ("var", "runs", "reports", "build", "dist", ".venv")
"""Folders that a run makes and git ignores."""


def check_document(root: Path, path: str) -> Iterator[Finding]:
    """Yield a finding for every link or path of a Markdown file that leads nowhere."""
    text = blank(FENCES, (root / path).read_text(encoding="utf-8"))
    folder = (root / path).parent
    for found in LINK.finditer(text):
        target = found[1].split("#")[0]
        if (
            target
            and "://" not in target
            and not target.startswith("mailto:")
            and not _exists(folder / target)
        ):
            yield _missing(path, text, found)
    for found in SPAN.finditer(text):
        if _is_path(found[1], bare_names=True) and not _is_known(found[1], folder):
            yield _missing(path, text, found)


def check_docstrings(root: Path, path: str) -> Iterator[Finding]:
    """Yield a finding for every path in a Python docstring that does not exist."""
    for passage in passages(root / path):
        for found in SPAN.finditer(passage.text if passage.kind == "docstring" else ""):
            if _is_path(found[1], bare_names=False) and not _is_known(found[1], ROOT):
                line = passage.line_at(found.start())
                yield Finding(path, line, f"the path {found[1]!r} does not exist")


def check_tests_are_unnamed(root: Path, path: str) -> Iterator[Finding]:
    """Yield a finding for every string of product code, and every line of a manifest, that names `tests/`."""
    if path.endswith(".py"):
        for passage in passages(root / path):
            if passage.kind == "string" and (
                passage.text == "tests" or re.search(r"\btests[/.]\w", passage.text)
            ):
                yield Finding(path, passage.line, f"product code names the tests: {passage.text!r}")
        return
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if re.search(r"(?<![\w/])(?:\./)?tests/", line.partition("#")[0]):
            yield Finding(path, number, "a manifest names a folder of the tests")


def _missing(path: str, text: str, found: re.Match[str]) -> Finding:
    return Finding(path, text.count("\n", 0, found.start()) + 1, f"the path {found[1]!r} does not exist")


def _is_path(span: str, *, bare_names: bool) -> bool:
    if not PATH.fullmatch(span):
        return False
    first, slash, _ = span.partition("/")
    if slash:
        return first in _top_folders() or span.endswith(SOURCE_SUFFIXES)
    return bare_names and span.endswith(SOURCE_SUFFIXES) and not span.startswith(".")


def _is_known(span: str, folder: Path) -> bool:
    if span.partition("/")[0] in GENERATED:
        return True
    if "{" in span:  # one of several names, as in a shell
        return all(_is_known(one, folder) for one in _expanded(span))
    if _exists(ROOT / span) or _exists(folder / span):
        return True
    return any(name.endswith("/" + span) for name in tracked())


def _expanded(span: str) -> list[str]:
    head, _, rest = span.partition("{")
    names, _, tail = rest.partition("}")
    return [head + name + tail for name in names.split(",")]


def _exists(path: Path) -> bool:
    if "*" in path.name:
        return any(path.parent.glob(path.name))
    return path.exists()


@cache
def tracked() -> tuple[str, ...]:
    """Every file of the repository that git tracks or would track, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(name for name in listing.stdout.splitlines() if (ROOT / name).is_file())


@cache
def _top_folders() -> frozenset[str]:
    return frozenset(name.split("/")[0] for name in tracked() if "/" in name)
