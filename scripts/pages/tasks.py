"""The pages of docs/tasks: their outputs and images come from a server with the demo checkpoint."""

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from scripts.pages.blocks import with_outputs
from scripts.pages.running import make_clone, run_page
from scripts.pictures.server import ROOT

FOLDER = ROOT / "docs" / "tasks"
PAGES = ("draw", "redraw", "caption", "classify", "rank", "continue", "answer")
"""In this order: the later ones use the image of the first."""
IMAGES = ROOT / "docs" / "pictures" / "tasks"
SIDE = 192
"""Pixels; the checkpoint draws 64."""


def write_pages(url: str, folder: Path) -> None:
    """Run all pages, and write their outputs and images."""
    for name in PAGES:
        page = FOLDER / f"{name}.md"
        text = page.read_text(encoding="utf-8")
        new = run_page(text, url, make_clone(folder))
        for path, image in images(text, folder):
            image.save(path, optimize=True)
        page.write_text(with_outputs(text, new), encoding="utf-8")


def images(text: str, folder: Path) -> Iterator[tuple[Path, Image.Image]]:
    """Yield (file in the documents, enlarged image) for each image of a page that its commands wrote."""
    for name in dict.fromkeys(re.findall(r"\(\.\./pictures/tasks/(\w[\w-]*\.png)\)", text)):
        if (folder / name).exists():
            with Image.open(folder / name) as drawn:
                yield IMAGES / name, drawn.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
