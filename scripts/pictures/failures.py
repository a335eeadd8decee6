"""The sheet of failures in docs/quality.md: prompts that the demo checkpoint does not know."""

import io
from pathlib import Path

import httpx
from PIL import Image

from scripts.pictures.demo import GAP, SEED, SIDE, TIMEOUT_S
from scripts.pictures.server import ROOT

SHEET = ROOT / "docs" / "pictures" / "failures.png"
PROMPTS = ("рыжий кот", "a red cat", "кошка и собака", "три клубники", "кошка на черном фоне", "радость")
"""In the order of the sheet, each with seed 1 and without other candidates."""


def draw_failures(url: str) -> Image.Image:
    """Return the sheet: one tile for each prompt."""
    sheet = Image.new("RGB", (len(PROMPTS) * (SIDE + GAP) - GAP, SIDE), "white")
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        for index, prompt in enumerate(PROMPTS):
            body = {"prompt": prompt, "seed": SEED}
            reply = client.post("/v1/text2image", json=body, headers={"Accept": "image/png"})
            reply.raise_for_status()
            drawn = Image.open(io.BytesIO(reply.content)).convert("RGB")
            sheet.paste(drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (index * (SIDE + GAP), 0))
    return sheet


def write_failures(url: str, path: Path = SHEET) -> None:
    draw_failures(url).save(path, optimize=True)
