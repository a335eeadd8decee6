"""Result files as tables: on the screen, and as Markdown in the documents that quote them.

Knows the fields of the files; measures nothing. `tests/bench/test_tables.py` holds the documents to it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.results import RESULTS, read

Cells = Sequence[Sequence[str]]
"""A heading and rows."""

GIGABYTE = 1e9
ROOT = Path(__file__).resolve().parents[1]


def show(title: str, cells: Cells) -> None:
    """A table on the screen; the first column is text."""
    table = Table(title=title)
    for place, heading in enumerate(cells[0]):
        table.add_column(heading, justify="right" if place else "left")
    for row in cells[1:]:
        table.add_row(*row)
    Console(width=max(110, Console().width)).print(table)


def markdown(cells: Cells) -> str:
    heading, *rows = cells
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(document: Path, name: str, cells: Cells) -> bool:
    """Write the table between the document's `<!-- name -->` marks; whether that changed anything."""
    text = document.read_text(encoding="utf-8")
    changed = replaced(text, name, cells)
    document.write_text(changed, encoding="utf-8")
    return changed != text


def replaced(text: str, name: str, cells: Cells) -> str:
    """The text with the table between its marks. ValueError where it has none."""
    marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(text):
        raise ValueError(f"no marks of the table {name}")
    return marks.sub(lambda found: found[1] + markdown(cells) + "\n" + found[2], text)


# The tables ------------------------------------------------------------------------------------------


def comparison(content: dict[str, Any]) -> Cells:
    """Ours beside the published package."""
    rows = [["measure", "ours", "package", "ratio", "must", "aim", "tokens/s", "package's"]]
    for row in content["rows"]:
        mark = " *" if row["disturbed"] else ""
        rows.append(
            [
                row["name"],
                f"{_seconds(row['ours_s'])} a {row['unit']}{mark}",
                _seconds(row["package_s"]),
                "–" if row["ratio"] is None else f"{row['ratio']:.1f}×",
                _target(row["must"]),
                _target(row["aim"]),
                _rate(row["ours_tokens_per_s"]),
                _rate(row["package_tokens_per_s"]),
            ]
        )
    return rows


def summary(content: dict[str, Any]) -> Cells:
    """The comparison in a few columns."""
    return [[*row[:4]] for row in comparison(content)]


def quoted() -> list[tuple[Path, str, Cells]]:
    """Every table that a document quotes of what was measured: where, its marks, and what it must hold."""
    return [
        (ROOT / document, name, make(read(RESULTS / f"{file}.json")))
        for document, name, file, make in (
            ("README.md", "comparison", "cpu", summary),
            ("docs/performance.md", "comparison", "cpu", comparison),
            ("docs/performance.md", "comparison-xeon", "cpu-xeon", summary),
            ("docs/performance.md", "comparison-zen4", "cpu-zen4", summary),
            ("docs/performance.md", "comparison-zen3", "cpu-zen3", summary),
            ("docs/performance.md", "memory", "cpu", memory),
            ("docs/performance.md", "ladder", "ladder", ladder),
            ("docs/performance.md", "server", "server", figures),
            ("docs/performance.md", "long-run", "long-run", figures),
            ("docs/performance.md", "png", "png", figures),
            ("docs/performance.md", "cold-start", "cold-start", figures),
            ("docs/adr/int8-weights.md", "int8", "int8", figures),
            ("docs/adr/int8-weights.md", "comparison-int8", "cpu-int8", summary),
        )
        if (RESULTS / f"{file}.json").exists()
    ]


def memory(content: dict[str, Any]) -> Cells:
    sizes = content["weights_and_slots_bytes"]
    peak = max(content["rows"], key=lambda row: row["peak_bytes"])
    return [
        ["memory", "ours", "package"],
        ["weights (ours: and 16 slots)", _gigabytes(sizes["ours"]), _gigabytes(sizes["package"])],
        [f"beyond that, at most ({peak['name']})", _gigabytes(peak["peak_bytes"]), "not measured"],
        ["speed at which this machine reads it", f"{_gigabytes(content['memory_bytes_per_s'])}/s", ""],
        [
            "time to read the weights once for each token of a caption of full length",
            _seconds(content["caption_weights_bytes"] / content["memory_bytes_per_s"]),
            "",
        ],
    ]


def ladder(content: dict[str, Any]) -> Cells:
    rows = [["rung", "ms a code", "against the rung above", "in all"]]
    first = content["rows"][0]["median_s"]
    before = first
    for row in content["rows"]:
        spent = row["median_s"]
        rows.append([row["name"], f"{spent * 1e3:.1f}", _times(before, spent), _times(first, spent)])
        before = spent
    return rows


def figures(content: dict[str, Any]) -> Cells:
    """Files that are lists of names, values and units."""
    return [
        ["measure", "value"],
        *([row["name"], f"{row['value']:,.4g} {row['unit']}".strip()] for row in content["rows"]),
    ]


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.1f} ms"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _target(value: float | None) -> str:
    return "–" if value is None else f"{value:g}×"


def _gigabytes(size: float) -> str:
    return f"{size / GIGABYTE:.2f} GB"


def _times(before: float, after: float) -> str:
    return "–" if before == after else f"{before / after:.1f}×"
