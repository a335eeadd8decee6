"""Small pictures with texts, in each of the layouts that training reads."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

COLOURS = {
    "красный": (220, 30, 30),
    "зеленый": (30, 180, 60),
    "синий": (30, 60, 220),
    "белый": (250, 250, 250),
}
SHAPES = ("круг", "квадрат")
SIDE = 32


def draw(shape: str, colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    drawer = ImageDraw.Draw(picture)
    (drawer.ellipse if shape == "круг" else drawer.rectangle)((6, 6, 25, 25), fill=colour)
    return picture


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with eight pictures and data.jsonl."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines: list[str] = []
    for colour, value in COLOURS.items():
        for shape in SHAPES:
            name = f"{len(lines)}.png"
            draw(shape, value).save(folder / name)
            lines.append(json.dumps({"picture": name, "text": f"{colour} {shape}"}, ensure_ascii=False))
    (folder / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder
