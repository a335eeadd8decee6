"""Results of a served checkpoint on examples: their summary, and a report with images.

Does not know how a result is computed; `rudolph train evaluate` uses a server or a local model.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.state import replace_file

THUMBNAIL = 96
"""Largest side of an image in the report, in pixels."""
STYLE = (
    "body{font:15px/1.4 system-ui;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.4em;text-align:left}.wrong{background:#fde8e8}img{display:block}"
)


@dataclass(frozen=True)
class Outcome:
    """The result for one example."""

    place: str
    expected: str
    found: str
    question: str = ""
    image: bytes | None = None
    """The image of the example, or the image that was drawn."""

    @property
    def is_right(self) -> bool:
        """Whether the texts are equal, but for case and blanks."""
        return _plain(self.expected) == _plain(self.found)


def share_right(outcomes: Sequence[Outcome]) -> float:
    """Return the share of right results."""
    return sum(outcome.is_right for outcome in outcomes) / max(1, len(outcomes))


def write_report(path: Path, title: str, outcomes: Sequence[Outcome]) -> None:
    """Write an HTML page with all results, the wrong ones first."""
    right = sum(outcome.is_right for outcome in outcomes)
    ordered = sorted(outcomes, key=lambda outcome: outcome.is_right)
    rows = "\n".join(map(_row, ordered))
    page = f"""<!doctype html><html lang="ru"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<p>{right} of {len(outcomes)} right ({share_right(outcomes):.1%})</p>
<table><tr><th>image<th>question<th>expected<th>found<th>example</tr>
{rows}
</table></html>
"""
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _row(outcome: Outcome) -> str:
    cells = (outcome.question, outcome.expected, outcome.found, outcome.place)
    texts = "".join(f"<td>{html.escape(text)}" for text in cells)
    kind = "" if outcome.is_right else ' class="wrong"'
    return f"<tr{kind}><td>{_thumbnail(outcome.image)}{texts}</tr>"


def _thumbnail(data: bytes | None) -> str:
    if data is None:
        return ""
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small.save(file, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
