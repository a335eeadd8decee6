"""Runs the project's own checks: python -m scripts.lint [PATH …]"""

import sys
from collections.abc import Iterator
from pathlib import PurePath

from scripts.lint.circles import PACKAGES, check_circles
from scripts.lint.commands import check_commands
from scripts.lint.findings import ROOT, Finding
from scripts.lint.paths import check_docstrings, check_document, check_tests_are_unnamed, tracked
from scripts.lint.words import check_sentences, check_words

TEXT_SUFFIXES = (
    ".py",
    ".md",
    ".lua",
    ".c",
    ".h",
    ".js",
    ".css",
    ".html",
    ".sh",
    ".yml",
    ".yaml",
    ".toml",
    ".conf",
)
TEXT_NAMES = ("Makefile", "Dockerfile", "run")
NOT_OURS = ("checkpoints/demo/", "LICENSE")
MANIFESTS = ("docker-compose.yml", "Dockerfile", "deploy/", "docker/")


def main() -> int:
    """Print all findings, or those in the given paths; return the exit code."""
    prefixes = [argument.rstrip("/") for argument in sys.argv[1:]]
    findings = sorted(
        finding for finding in set(check()) if not prefixes or any(_is_in(finding.path, p) for p in prefixes)
    )
    for finding in findings:
        print(finding)
    return int(bool(findings))


def check() -> Iterator[Finding]:
    """Yield the findings of all checks in all files."""
    yield from check_circles(ROOT)
    for path in tracked():
        if path.startswith(NOT_OURS) or not (
            path.endswith(TEXT_SUFFIXES) or PurePath(path).name in TEXT_NAMES
        ):
            continue
        yield from check_words(ROOT, path)
        yield from check_sentences(ROOT, path)
        if path.endswith(".md"):
            yield from check_document(ROOT, path)
            yield from check_commands(ROOT, path)
        if path.endswith(".py"):
            yield from check_docstrings(ROOT, path)
        if path.split("/")[0] in PACKAGES or path.startswith(MANIFESTS):
            yield from check_tests_are_unnamed(ROOT, path)


def _is_in(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


if __name__ == "__main__":
    sys.exit(main())
