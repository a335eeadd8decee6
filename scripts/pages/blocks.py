"""The fenced code blocks of a Markdown file, their marks, and the outputs that the page shows.

A comment before a block is its mark, for example `<!-- measured: 2026-11-30 -->`. The output of the second
command of a page is in the block after `<!-- output: 2 -->`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n\n?)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_OUTPUT = re.compile(r"output: (\d+)")
COMMANDS = ("sh", "python", "console")
"""Languages of blocks that a reader runs."""
NOT_RUN = ("not run:", "measured:")
"""Beginnings of the marks of commands that no test runs."""


@dataclass(frozen=True)
class Block:
    """A code block; `start` and `end` are the offsets of its code."""

    language: str
    code: str
    mark: str
    start: int
    end: int

    @property
    def exit_code(self) -> int:
        """The exit code that the page states: `<!-- exits with 1 -->`."""
        found = re.fullmatch(r"exits with (\d+)", self.mark)
        return int(found[1]) if found else 0

    @property
    def is_run(self) -> bool:
        """True if a test runs the block."""
        return self.language in COMMANDS and not self.mark.startswith(NOT_RUN)

    @property
    def output_of(self) -> int | None:
        """The index of the command of which this is the output, from 0; None for another block."""
        found = _OUTPUT.fullmatch(self.mark)
        return int(found[1]) - 1 if found else None


def blocks(text: str) -> Iterator[Block]:
    """Yield the code blocks of a Markdown text."""
    for found in _BLOCK.finditer(text):
        yield Block(found["language"], found["code"], found["mark"] or "", *found.span("code"))


def commands(text: str) -> list[Block]:
    """Return the blocks that a test runs."""
    return [block for block in blocks(text) if block.is_run]


def outputs(text: str) -> dict[int, str]:
    """Return the outputs that a page shows, by the index of their command."""
    return {block.output_of: block.code.rstrip() for block in blocks(text) if block.output_of is not None}


def with_outputs(text: str, new: Sequence[str]) -> str:
    """Return the text with new outputs, in the order of its commands."""
    for block in reversed(list(blocks(text))):
        if block.output_of is not None:
            text = f"{text[: block.start]}{new[block.output_of]}\n{text[block.end :]}"
    return text


def between(text: str, name: str, content: str) -> str:
    """Return the text with `content` between `<!-- name -->` and the next `<!-- end -->`.

    Raises ValueError if it has no such marks.
    """
    marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(text):
        raise ValueError(f"The document has no marks of {name}.")
    return marks.sub(lambda found: found[1] + content + found[2], text)
