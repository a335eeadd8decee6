"""The image of the tutorial, drawn by the tutorial's own command."""

import io
import json
import re

import httpx
from PIL import Image

from scripts.pictures.demo import TIMEOUT_S
from scripts.pictures.server import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.md"
IMAGE = ROOT / "docs" / "pictures" / "tutorial-owl.png"
SIDE = 192
"""Pixels; the checkpoint draws 64."""


def draw_owl(url: str) -> None:
    """Send the body of the first request of the tutorial, and write its image.

    Raises ValueError if the tutorial has no such request.
    """
    found = re.search(r"-d '(\{.*?\})' -o owl\.png", TUTORIAL.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{TUTORIAL.name} has no command that writes owl.png.")
    headers = {"Accept": "image/png"}
    reply = httpx.post(f"{url}/v1/text2image", json=json.loads(found[1]), headers=headers, timeout=TIMEOUT_S)
    reply.raise_for_status()
    drawn = Image.open(io.BytesIO(reply.content)).convert("RGB")
    drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(IMAGE, optimize=True)
