"""Writes the model card of the demo checkpoint, with its figures and the licences of its training data."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.demo_checkpoint.names import COLOURED, HELD_OUT_OF
from training.state import replace_file

LICENCES = Path(__file__).parent / "licences"
FIGURES_FILE = "quality.json"
CARD = """# rudolph-demo

A small RuDOLPH checkpoint (layout of the second generation) that draws, names and ranks emoji. It lets you
run the server without a download, and every task gives a useful result. It says nothing about the quality of
the published models: the smallest of them has {scale} times as many weights and was trained on photographs.
`make demo-checkpoint` trains it.

- It knows {num_emoji} emoji, at 64 × 64 pixels, by their Russian names in lower case: «клубника», «морда
  панды», «дом».
- It knows {num_colours} background phrases: {backgrounds}.
  Without a phrase the background is white.
- One pair of emoji and background in {held_out_of} was not in the training data. A hash of the two names
  selects these pairs (`examples/demo_checkpoint/names.py`).
- `generation_config.json` has the sampling defaults and the examples.

## Data

- Images: the font Noto Color Emoji (Google and contributors), SIL Open Font License 1.1, see `OFL-1.1.txt`.
- Names: the Russian short names of Unicode CLDR, Unicode License 3.0, see `Unicode-3.0.txt`, read with the
  `emoji` package. This project added a few everyday synonyms.

No other data and no other weights were used.

## Licence

The weights have the licence of this project, Apache-2.0. The images that they draw resemble the font.

## Figures

`make demo-quality ARGS=--card` measures a served checkpoint and writes these tables.

{figures}

## Training

`training.json` has all settings of the training run.
"""
NO_FIGURES = "Not measured yet."
RUDOLPH_350M = 350e6


def write_card(folder: Path, *, num_emoji: int, num_parameters: int, settings: dict[str, Any]) -> None:
    """Write README.md, the licences, and `training.json` with the settings of the run."""
    for licence in LICENCES.iterdir():
        shutil.copyfile(licence, folder / licence.name)
    facts = {"num_emoji": num_emoji, "num_parameters": num_parameters, "settings": settings}
    with replace_file(folder / "training.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1, default=plain_value) + "\n", encoding="utf-8")
    _write(folder, NO_FIGURES)


def add_figures(folder: Path) -> None:
    """Write the figures of `quality.json` into the card."""
    _write(folder, figures_tables(json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))))


def figures_tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return tables of the figures and of the targets. rows: measures of `quality.json`."""
    figures = ["| measure | measured | samples |", "|---|---|---|"]
    targets = ["## Targets", "", "| measure | required | goal |", "|---|---|---|"]
    for row in rows:
        name, unit = row["name"], row["unit"]
        figures.append(f"| {name} | {row['value']} {unit} | {row['count']} |")
        if row["must"] is not None:
            targets.append(f"| {name} | {row['must']} {unit} | {row['aim']} {unit} |")
    return "\n".join([*figures, "", *targets])


def _write(folder: Path, figures: str) -> None:
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    text = CARD.format(
        scale=round(RUDOLPH_350M / facts["num_parameters"]),
        num_emoji=facts["num_emoji"],
        num_colours=len(COLOURED),
        backgrounds=", ".join(background.words for background in COLOURED),
        held_out_of=HELD_OUT_OF,
        figures=figures,
    )
    with replace_file(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def plain_value(value: object) -> object:
    """Return a value of the settings that JSON has no type for as a list or a text."""
    return sorted(map(str, value)) if isinstance(value, frozenset) else str(value)
