"""The sheet of ten images at the top of both READMEs, with its caption and alternative text."""

import io
from pathlib import Path

import httpx
from PIL import Image

from scripts.pages.blocks import between
from scripts.pictures.server import ROOT

READMES = {"en": ROOT / "README.md", "ru": ROOT / "README.ru.md"}
SHEET = ROOT / "docs" / "pictures" / "demo.png"
# Prompt as the checkpoint writes it in a caption, and its meaning in English.
TILES = {
    "клубника": "strawberry",
    "кошка на синем фоне": "cat on blue",
    "клубника на желтом фоне": "strawberry on yellow",
    "сова на зеленом фоне": "owl on green",
    "красное яблоко на розовом фоне": "red apple on pink",
    "морда панды": "panda's face",
    "банан на голубом фоне": "banana on light blue",
    "автомобиль на желтом фоне": "car on yellow",
    "гитара": "guitar",
    "черепаха на оранжевом фоне": "turtle on orange",
}
COLUMNS = 5
SIDE = 128
"""Pixels of a tile; the checkpoint draws 64."""
GAP = 4
CANDIDATES = 8
SEED = 1
TIMEOUT_S = 120.0


def draw_sheet(url: str) -> None:
    """Draw every tile with the checkpoint's own settings, and write the sheet.

    Raises ValueError for a tile whose caption is not its prompt.
    """
    tiles: list[Image.Image] = []
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        for prompt in TILES:
            body = {"prompt": prompt, "candidates": CANDIDATES, "seed": SEED}
            reply = client.post("/v1/text2image", json=body, headers={"Accept": "image/png"})
            reply.raise_for_status()
            drawn = Image.open(io.BytesIO(reply.content)).convert("RGB")
            tile = drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            if (caption := caption_of(client, tile)) != prompt:
                raise ValueError(f"The tile of «{prompt}» shows «{caption}».")
            tiles.append(tile)
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, rows * (SIDE + GAP) - GAP), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, _box(index)[:2])
    sheet.save(SHEET, optimize=True)


def captions(client: httpx.Client, sheet: Path = SHEET) -> list[str]:
    """Return the caption that the server gives for each tile of the sheet."""
    with Image.open(sheet) as image:
        return [caption_of(client, image.convert("RGB").crop(_box(index))) for index in range(len(TILES))]


def caption_of(client: httpx.Client, tile: Image.Image) -> str:
    file = io.BytesIO()
    tile.save(file, "PNG")
    reply = client.post("/v1/image2text", files={"image": ("tile.png", file.getvalue())}, data={"seed": "1"})
    reply.raise_for_status()
    return reply.json()["texts"][0]["text"]


def replaced(text: str, language: str) -> str:
    """The README with the block of the sheet between its marks. Raises ValueError if there are no marks."""
    return between(text, "demo-picture", block(language))


def block(language: str) -> str:
    """The image with its alternative text, and its caption, as Markdown in English or Russian."""
    rows = -(-len(TILES) // COLUMNS)
    if language == "ru":
        shown = f"Маленькие картинки, {rows} × {COLUMNS}: {', '.join(TILES)}"
        made = f"Нарисовано демонстрационной моделью с её собственными настройками, лучшая из {CANDIDATES}"
    else:
        shown = f"{rows} rows of {COLUMNS} small images: {', '.join(TILES.values())}"
        made = f"Drawn by the bundled demo checkpoint with its own settings, the best of {CANDIDATES} each"
    names = ",\n".join(
        ", ".join(f"«{prompt}»" for prompt in list(TILES)[start : start + COLUMNS])
        for start in range(0, len(TILES), COLUMNS)
    )
    return f"![{shown}](docs/pictures/demo.png)\n\n*{made}:\n{names}.*\n"


def _box(index: int) -> tuple[int, int, int, int]:
    left, top = index % COLUMNS * (SIDE + GAP), index // COLUMNS * (SIDE + GAP)
    return left, top, left + SIDE, top + SIDE
