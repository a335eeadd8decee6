"""Writes the model card of the larger demo checkpoint, with its figures and the licences of its data."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.demo_checkpoint.card import FIGURES_FILE, RUDOLPH_350M, figures_tables, plain_value
from examples.demo_scenes.scenes import HELD_OUT_OF
from examples.demo_scenes.sets import PACKAGES
from examples.demo_scenes.things import COLOURS, STYLES
from training.state import replace_file

LICENCES = Path(__file__).parent / "licences"
NO_FIGURES = "Not measured yet."
FAILURES_FILE = "failures.json"
FAILURES = 8
"""Failures that the card shows of each measure."""
CARD = """# rudolph-demo

A small RuDOLPH checkpoint (layout of the second generation) that draws, names and ranks emoji. It lets you
run the server without a download. It says nothing about the quality of the published models: the smallest of
them has {scale} times as many weights and was trained on photographs. `make demo-scenes` trains it.

- It knows {num_things} things by their Russian names and synonyms, at 64 × 64 pixels.
- It draws them in {num_styles} styles: {styles}. Without a style each image has one of them.
- It knows {num_colours} colours, of things («синяя машина») and of backgrounds («на синем фоне»).
- It knows numbers («два кота», «три кота»), places («кот слева»), sizes («маленький кот») and pairs («кот и
  яблоко»).
- One composition in {held_out_of} was not in the training data: of colour and thing, style and thing,
  background and thing, place and thing, number and thing, and of two things. A hash of the words selects
  these compositions (`examples/demo_scenes/scenes.py`).
- Unknown words are ignored, and the rest of the prompt is drawn.
- `generation_config.json` has the sampling defaults and the examples.

## Data

| package | images | licence |
|---|---|---|
{packages}

The texts of the licences are beside this file; `NOTICE.md` has the attributions. The names are from this
project. No other data and no other weights were used.

## Licence

The weights have the licence of this project, Apache-2.0. The images that they draw resemble the sets.

## Figures

`make demo-scenes-quality ARGS=--card` measures a served checkpoint over HTTP and writes these tables.

{figures}

## Training

`training.json` has all settings of the training run.
"""


def write_card(folder: Path, *, num_things: int, num_parameters: int, settings: Mapping[str, Any]) -> None:
    """Write README.md, the licences, and `training.json` with the settings of the run."""
    for licence in LICENCES.iterdir():
        shutil.copyfile(licence, folder / licence.name)
    facts = {"num_things": num_things, "num_parameters": num_parameters, "settings": settings}
    with replace_file(folder / "training.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1, default=plain_value) + "\n", encoding="utf-8")
    _write(folder, NO_FIGURES)


def add_figures(folder: Path) -> None:
    """Write the figures, and the prompts that failed, into the card."""
    measures, failed = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in (FIGURES_FILE, FAILURES_FILE)
    )
    failures = ["", "## Failures", ""]
    for name, prompts in failed.items():
        if prompts:
            more = f" and {len(prompts) - FAILURES} more" if len(prompts) > FAILURES else ""
            failures.append(f"- {name}: {', '.join(f'«{prompt}»' for prompt in prompts[:FAILURES])}{more}.")
    _write(folder, "\n".join([figures_tables(measures), *failures]))


def _write(folder: Path, figures: str) -> None:
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    packages = [
        f"| `{package.name}` {package.version} | {package.author} | {package.licence} |"
        for package in PACKAGES.values()
    ]
    text = CARD.format(
        scale=round(RUDOLPH_350M / facts["num_parameters"]),
        num_things=facts["num_things"],
        num_styles=len(STYLES),
        styles=", ".join(f"«{style.phrase}»" for style in STYLES),
        num_colours=len(COLOURS),
        held_out_of=HELD_OUT_OF,
        packages="\n".join(packages),
        figures=figures,
    )
    with replace_file(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
