"""The demo checkpoint's model card, and the licences of what it was trained on."""

import json
import shutil
from pathlib import Path
from typing import Any

from training.emoji_names import COLOURED, HELD_OUT_OF
from training.state import replace_file

LICENCES = Path(__file__).parent / "licences"
FIGURES_FILE = "quality.json"
CARD = """# rudolph-demo

A small RuDOLPH (second-generation layout) that draws, names and ranks emoji. `make demo-checkpoint` makes it
from nothing, so that the server has something to serve without a download. It shows that all tasks work, and
says nothing about the published models: the smallest of them is {scale} times as large and knows photographs.

- {num_emoji} emoji, 64 × 64 pixels, by their Russian names in lower case: «клубника», «морда панды», «дом».
- {num_colours} named backgrounds: {backgrounds}.
  Without one the background is white.
- One pair of emoji and background in {held_out_of} was never shown in training; which ones depends on a hash
  of the two names alone (`training/emoji_names.py`).
- Draws best with `temperature` 0.5, `top_k` 64, `top_p` 0.9, and names best with `temperature` 0.5.

## Data
Pictures: the font Noto Color Emoji (Google and contributors), SIL Open Font License 1.1, see `OFL-1.1.txt`.
Names: the Russian short names of Unicode CLDR, Unicode License 3.0, see `Unicode-3.0.txt`, read through the
`emoji` package, with a few everyday synonyms of this project's own. No other data and no other weights took
part.

## Licence
The weights, like the rest of this project: Apache-2.0. The pictures that they draw resemble the font's.

## Figures
{figures}

## Training
```json
{settings}
```
"""
NO_FIGURES = "Not measured yet: `make demo-quality` measures a served checkpoint and writes this table."
RUDOLPH_350M = 350e6


def write_card(folder: Path, *, num_emoji: int, num_parameters: int, settings: dict[str, Any]) -> None:
    """Write README.md and the licences; the settings are kept in `training.json`, for `add_figures`."""
    for licence in LICENCES.iterdir():
        shutil.copyfile(licence, folder / licence.name)
    facts = {"num_emoji": num_emoji, "num_parameters": num_parameters, "settings": settings}
    with replace_file(folder / "training.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1, default=_plain) + "\n", encoding="utf-8")
    _write(folder, NO_FIGURES)


def add_figures(folder: Path) -> None:
    """Put the measured figures (quality.json) into the card."""
    lines = ["| measure | must | aim | measured | of |", "|---|---|---|---|---|"]
    for row in json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8")):
        must, aim = (f"{row[key]} {row['unit']}" for key in ("must", "aim"))
        lines.append(f"| {row['name']} | {must} | {aim} | {row['value']} {row['unit']} | {row['count']} |")
    _write(folder, "\n".join(lines))


def _write(folder: Path, figures: str) -> None:
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    text = CARD.format(
        scale=round(RUDOLPH_350M / facts["num_parameters"]),
        num_emoji=facts["num_emoji"],
        num_colours=len(COLOURED),
        backgrounds=", ".join(background.words for background in COLOURED),
        held_out_of=HELD_OUT_OF,
        figures=figures,
        settings=json.dumps(facts["settings"], indent=1),
    )
    with replace_file(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, frozenset) else str(value)
