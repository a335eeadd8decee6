"""Extracts the English from a file: docstrings, comments, error texts, Markdown.

Code spans in backticks and fenced blocks are replaced by spaces, so offsets and line numbers stay valid.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FENCES = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE_SPAN = re.compile(r"`[^`\n]+`")
HTML_COMMENT_MARKS = re.compile(r"<!--|-->")
HTML_TAG = re.compile(r"<[^>]*>")
C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
C_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
LUA_COMMENT = re.compile(r"--[^\n]*")
HASH_COMMENT = re.compile(r"(?m)(?:^[^\S\n]*|[^\S\n])#(?:$|[^\S\n][^\n]*)")

C_LIKE = frozenset({".c", ".h", ".js", ".css", ".pyi"})
HASH_LIKE = frozenset({".sh", ".yml", ".yaml", ".toml", ".conf", ""})


@dataclass(frozen=True)
class Passage:
    """A piece of text and the line where it starts."""

    line: int
    text: str
    kind: str
    """docstring, comment, string or document."""

    @property
    def prose(self) -> str:
        """The text without its code spans."""
        return blank(CODE_SPAN, self.text)

    def line_at(self, offset: int) -> int:
        """The line of the file that holds this offset of the text."""
        return self.line + self.text.count("\n", 0, offset)


@cache
def passages(path: Path) -> tuple[Passage, ...]:
    """Every passage of a file. Raises SyntaxError for Python that does not parse."""
    return tuple(_passages(path.suffix, path.read_text(encoding="utf-8")))


def _passages(suffix: str, source: str) -> Iterator[Passage]:
    if suffix == ".py":
        yield from _python(source)
    elif suffix == ".md":
        yield Passage(1, blank(HTML_COMMENT_MARKS, blank(FENCES, source)), "document")
    elif suffix == ".html":
        yield Passage(1, blank(HTML_TAG, source), "document")
    elif suffix in C_LIKE:
        yield from _matches(C_COMMENT, source, "comment")
        yield from _matches(C_STRING, blank(C_COMMENT, source), "string")
    elif suffix == ".lua":
        yield from _joined(_matches(LUA_COMMENT, source, "comment"))
        yield from _matches(C_STRING, blank(LUA_COMMENT, source), "string")
    elif suffix in HASH_LIKE:
        yield from _joined(_matches(HASH_COMMENT, source, "comment"))


def blank(pattern: re.Pattern[str], text: str) -> str:
    """Replace every match by spaces; line ends stay."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def _python(source: str) -> Iterator[Passage]:
    """A string that is a statement is a docstring: the first of a body, or one after an assignment."""
    nodes = list(ast.walk(ast.parse(source)))
    statements = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Passage(node.lineno, node.value, "docstring" if id(node) in statements else "string")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = (
        Passage(token.start[0], token.string.lstrip("# "), "comment")
        for token in tokens
        if token.type == tokenize.COMMENT
    )
    yield from _joined(comments)


def _matches(pattern: re.Pattern[str], source: str, kind: str) -> Iterator[Passage]:
    for found in pattern.finditer(source):
        line = source.count("\n", 0, found.start()) + 1
        text = re.sub(r"(?m)^\s*(//|/\*|\*/|\*|--|#)", lambda mark: " " * len(mark[0].strip("\n")), found[0])
        yield Passage(line, text, kind)


def _joined(comments: Iterator[Passage]) -> Iterator[Passage]:
    """Join comments of consecutive lines, so that a phrase may cross a line's end."""
    open_passage: Passage | None = None
    for passage in comments:
        if open_passage is not None:
            next_line = open_passage.line + open_passage.text.count("\n") + 1
            if passage.line == next_line:
                open_passage = Passage(open_passage.line, f"{open_passage.text}\n{passage.text}", "comment")
                continue
            yield open_passage
        open_passage = passage
    if open_passage is not None:
        yield open_passage
