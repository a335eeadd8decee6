"""The table of measured figures in docs/quality.md, from checkpoints/demo/quality.json."""

import json
from pathlib import Path
from typing import Any

from scripts.pages.blocks import between

HEAD = "| measure | measured | wrong | samples | required | goal |\n| --- | --- | --- | --- | --- | --- |\n"


def render(root: Path) -> str:
    """Return the page with the figures of the bundled checkpoint."""
    rows: list[dict[str, Any]] = json.loads(
        (root / "checkpoints/demo/quality.json").read_text(encoding="utf-8")
    )
    table = HEAD + "".join(map(_row, rows))
    text = (root / "docs/quality.md").read_text(encoding="utf-8")
    return between(text, "measured", f"\n{table}\n")


def _row(row: dict[str, Any]) -> str:
    value, unit, count = row["value"], row["unit"], row["count"]
    wrong = str(round(count * (100 - value) / 100)) if unit == "%" else "–"
    must, aim = ("–" if row[name] is None else f"{row[name]} {unit}" for name in ("must", "aim"))
    return f"| {row['name']} | {value} {unit} | {wrong} | {count} | {must} | {aim} |\n"
