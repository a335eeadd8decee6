"""Banned words, and docstring sentences that are too long.

The list names the plain cases. A reader has to find the others.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.lint.findings import Finding
from scripts.lint.prose import Passage, passages

MAX_SENTENCE_WORDS = 30

# A pattern, and what to write instead. A space matches a line's end too.
BANNED = (
    (
        r"behind(?! (?:a|an|the|your|its own) (?:[a-zA-Z]+ )?(?:proxy|balancer|ingress|gateway|service)\b)",
        "after",
    ),
    (r"lies", "is, is stored"),
    (r"stands?(?! for\b)(?!-)", "is, is stored"),
    (r"whoever", "the client, the caller"),
    (r"nobody", "no client, no caller"),
    (r"whatever", "any, every"),
    (r"tells?", "returns, reports, shows"),
    (r"told", "given, reported"),
    (r"hears?|heard", "receives"),
    (r"anew", "again, from the start"),
    (r"by itself", "by default"),
    (r"(?:in|of|as|to|with|into) whole numbers", "int8, integers"),
    (r"whole numbers?", "int8, integer"),
    (r"the measure", "the reference"),
    (r"so many", "this many, N"),
    (r"no longer known", "unknown"),
    (r"wants?", "needs"),
    (r"dares?", "is more diverse"),
    (r"halves of", "parts of"),
    (r"wish(?:es|ed)?", "request, value"),
    (r"patience", "timeout, retry time"),
)
_BANNED = tuple(
    (re.compile(r"\b(?:" + pattern.replace(" ", r"\s+") + r")\b", re.IGNORECASE), instead)
    for pattern, instead in BANNED
)

# Senses that are right: the start of a path, and the words around the banned one.
EXCEPTIONS = (
    ("LICENSE", ""),
    ("scripts/lint/", ""),
)

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|:\n|\n\s*\n|\n(?=\s*(?:[-*] |[├└│]|\d+\. |>>> ))")
_WORD = re.compile(r"[^\W_]")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|cf|etc)\.$")


def check_words(root: Path, path: str) -> Iterator[Finding]:
    """Yield a finding for every banned word of a file."""
    for passage in passages(root / path):
        if passage.kind == "string" and (path.startswith("tests/") or " " not in passage.text.strip()):
            continue
        prose = passage.prose
        for pattern, instead in _BANNED:
            for found in pattern.finditer(prose):
                if not _is_excepted(path, passage, found):
                    word = " ".join(found[0].split())
                    line = passage.line_at(found.start())
                    yield Finding(path, line, f"banned word {word!r} in a {passage.kind}; say: {instead}")


def check_sentences(root: Path, path: str) -> Iterator[Finding]:
    """Yield a finding for every docstring sentence of more than 30 words."""
    if not path.endswith(".py"):
        return
    for passage in passages(root / path):
        if passage.kind != "docstring":
            continue
        for offset, sentence in sentences(passage.prose):
            count = sum(bool(_WORD.search(word)) for word in sentence.split())
            if count > MAX_SENTENCE_WORDS:
                line = passage.line_at(offset)
                yield Finding(
                    path, line, f"a docstring sentence of {count} words; at most {MAX_SENTENCE_WORDS}"
                )


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield (offset, sentence) for each sentence; list items, tree lines and paragraphs end one too."""
    start = 0
    for found in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[start : found.end()]):
            continue
        yield start, text[start : found.end()]
        start = found.end()
    yield start, text[start:]


def _is_excepted(path: str, passage: Passage, found: re.Match[str]) -> bool:
    around = " ".join(passage.text[max(0, found.start() - 60) : found.end() + 60].split())
    return any(path.startswith(prefix) and phrase in around for prefix, phrase in EXCEPTIONS)
