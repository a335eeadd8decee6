"""The table of docs/adr/README.md, from the heads of the records."""

import re
from pathlib import Path

from scripts.pages.blocks import between

_HEAD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>[^\n]+)\n\n"
    r"- Date: (?P<date>\d{4}-\d\d-\d\d)\n- Status: (?P<status>[^\n]+)\n"
)
SECTIONS = ("Context", "Decision", "Alternatives", "Consequences")


class FaultyRecord(Exception):
    """A record has no number, date or status, or lacks a section; the message names it."""


def render(root: Path) -> str:
    """Return the index with one row for each record. Raises FaultyRecord."""
    folder = root / "docs" / "adr"
    rows = "".join(_row(path) for path in sorted(folder.glob("[0-9]*.md")))
    table = f"| number | decision | date | status |\n|---|---|---|---|\n{rows}"
    text = (folder / "README.md").read_text(encoding="utf-8")
    return between(text, "records", f"\n{table}\n")


def _row(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None or int(head["number"]) != int(path.name[:4]):
        raise FaultyRecord(f"{path.name} must begin with its number and title, its date and its status")
    missing = [section for section in SECTIONS if f"\n## {section}\n" not in text]
    if missing:
        raise FaultyRecord(f"{path.name} has no section {missing[0]}")
    return f"| {head['number']} | [{head['title']}]({path.name}) | {head['date']} | {head['status']} |\n"
