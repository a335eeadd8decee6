"""Formats result files as tables: on the screen, and as Markdown in the documents that quote them.

`tests/bench/test_tables.py` checks that the documents quote the current files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import gpu_estimate
from bench.results import RESULTS, read
from scripts.pages.blocks import between

Cells = Sequence[Sequence[str]]
"""A heading and rows."""

GIGABYTE = 1e9
ROOT = Path(__file__).resolve().parents[1]


def show(title: str, cells: Cells) -> None:
    """Print a table; the first column is text."""
    table = Table(title=title)
    for index, heading in enumerate(cells[0]):
        table.add_column(heading, justify="right" if index else "left")
    for row in cells[1:]:
        table.add_row(*row)
    Console(width=max(110, Console().width)).print(table)


def markdown(cells: Cells) -> str:
    heading, *rows = cells
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Quoted:
    """A table in a document, between the marks `<!-- name -->` and `<!-- end -->`."""

    document: Path
    name: str
    cells: Cells
    note: str = ""
    """When and how it was measured."""

    def put(self) -> bool:
        """Write the table into the document; return whether the text changed."""
        text = self.document.read_text(encoding="utf-8")
        changed = replaced(text, self.name, self.cells, self.note)
        self.document.write_text(changed, encoding="utf-8")
        return changed != text


def replaced(text: str, name: str, cells: Cells, note: str = "") -> str:
    """Return the text with the table and its note between its marks. Raises ValueError without marks."""
    return between(text, name, markdown(cells) + (f"\n\n{note}\n" if note else "\n"))


# The tables ------------------------------------------------------------------------------------------


def comparison(content: dict[str, Any]) -> Cells:
    """Ours and the published package, row by row."""
    rows = [["task", "ours", "package", "ratio", "tokens/s", "package's"]]
    for row in content["rows"]:
        mark = " *" if row["disturbed"] else ""
        rows.append(
            [
                row["name"],
                f"{_seconds(row['ours_s'])} per {row['unit']}{mark}",
                _seconds(row["package_s"]),
                "–" if row["ratio"] is None else f"{row['ratio']:.1f}×",
                _rate(row["ours_tokens_per_s"]),
                _rate(row["package_tokens_per_s"]),
            ]
        )
    return rows


def summary(content: dict[str, Any]) -> Cells:
    """The first columns of the comparison."""
    return [[*row[:4]] for row in comparison(content)]


def measured(content: dict[str, Any]) -> str:
    """Return when and with which command a file was measured."""
    return f"Measured on {content['began'][:10]}: `{content['command'].strip()}`."


def quoted() -> list[Quoted]:
    """Return every table in a document."""
    return [
        Quoted(ROOT / document, name, make(content), measured(content))
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
            ("docs/performance.md", "cold-start", "cold-start", figures),
            ("docs/adr/0011-int8-weights.md", "int8", "int8", figures),
            ("docs/adr/0011-int8-weights.md", "comparison-int8", "cpu-int8", summary),
        )
        if (RESULTS / f"{file}.json").exists()
        for content in [read(RESULTS / f"{file}.json")]
    ] + [Quoted(ROOT / "docs/gpu.md", "estimate", gpu_estimate.table(RESULTS))]


def memory(content: dict[str, Any]) -> Cells:
    sizes = content["weights_and_slots_bytes"]
    peak = max(content["rows"], key=lambda row: row["peak_bytes"])
    return [
        ["memory", "ours", "package"],
        ["weights (ours: and 16 slots)", _gigabytes(sizes["ours"]), _gigabytes(sizes["package"])],
        [f"beyond that, at most ({peak['name']})", _gigabytes(peak["peak_bytes"]), "not measured"],
        ["read bandwidth of this machine", f"{_gigabytes(content['memory_bytes_per_s'])}/s", ""],
        [
            "time to read the weights once for each token of a caption of full length",
            _seconds(content["caption_weights_bytes"] / content["memory_bytes_per_s"]),
            "",
        ],
    ]


def ladder(content: dict[str, Any]) -> Cells:
    rows = [["technique", "ms per code", "against the row above", "in total"]]
    first = content["rows"][0]["median_s"]
    previous = first
    for row in content["rows"]:
        spent = row["median_s"]
        rows.append([row["name"], f"{spent * 1e3:.1f}", _times(previous, spent), _times(first, spent)])
        previous = spent
    return rows


def figures(content: dict[str, Any]) -> Cells:
    """Names, values and units of a file."""
    return [
        ["figure", "value"],
        *([row["name"], f"{row['value']:,.4g} {row['unit']}".strip()] for row in content["rows"]),
    ]


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.1f} ms"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _gigabytes(size: float) -> str:
    return f"{size / GIGABYTE:.2f} GB"


def _times(before: float, after: float) -> str:
    return "–" if before == after else f"{before / after:.1f}×"
