"""Writes generation_config.json of the demo checkpoint: its best sampling settings, and examples.

The example images are those of the font, as lossy WebP, because every heartbeat of a worker carries them.
"""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy
from PIL import Image
from torch import Tensor

from examples.demo_checkpoint.images import EmojiSet
from examples.demo_checkpoint.names import BACKGROUNDS
from model.files.generation_config import GENERATION_CONFIG_FILE, parse_generation_config
from training.state import replace_file

DRAWING = {"temperature": 0.5, "top_k": 64, "top_p": 0.9}
CAPTIONS = {"temperature": 0.5}
"""Labels are smoothed in training, so the published 0.9 draws many unlikely tokens."""
TEXTS = {"temperature": 0.3}
"""At 0.5 some continued texts contain a word that does not exist."""

PROMPTS = (
    "сова на зелёном фоне",
    "клубника",
    "кошка на синем фоне",
    "автомобиль на жёлтом фоне",
    "морда панды",
    "банан на розовом фоне",
)
OWL = ("сова", "на зеленом фоне")
STRAWBERRY = ("клубника", "")
CAT = ("кошка", "")
CAT_ON_BLUE = ("кошка", "на синем фоне")
BANANA = ("банан", "на розовом фоне")
QUALITY = 85


def write_generation_config(folder: Path, emoji: EmojiSet, side: int) -> None:
    """Write the file. side: size of the example images in pixels."""
    document = {
        "do_sample": True,
        "text2image": DRAWING,
        "image2text": CAPTIONS,
        "text2text": TEXTS,
        "examples": _examples(emoji, side),
    }
    parse_generation_config(document)
    with replace_file(folder / GENERATION_CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _examples(emoji: EmojiSet, side: int) -> dict[str, list[dict[str, Any]]]:
    def image(pair: tuple[str, str]) -> str:
        name, words = pair
        index = [item.name for item in emoji.emoji].index(name)
        ground = [background.words for background in BACKGROUNDS].index(words)
        return data_uri(to_image(emoji.draw([(index, ground)], side)[0]), "webp", quality=QUALITY)

    redrawn = {"image": image(STRAWBERRY), "mask": lower_half(side)}
    return {
        "text2image": [
            *({"prompt": prompt} for prompt in PROMPTS),
            {"prompt": "клубника", "image_prompt": redrawn},
        ],
        "image2text": [{"image": image(pair)} for pair in (OWL, STRAWBERRY, CAT_ON_BLUE)],
        "text2text": [{"prompt": prompt} for prompt in ("морда", "красное", "желтый цветок")],
        "rank_images": [
            {"text": "сова на зеленом фоне", "images": [image(pair) for pair in (STRAWBERRY, OWL, BANANA)]}
        ],
        "rank_texts": [
            {"image": image(BANANA), "texts": ["клубника", "сова на зеленом фоне", "банан на розовом фоне"]}
        ],
        "classify": [{"image": image(CAT), "classes": ["собака", "кошка", "клубника", "дом"]}],
    }


def to_image(image: Tensor) -> Image.Image:
    """Convert pixels, shape = (3, side, side), in [0, 1], to an image."""
    return Image.fromarray((image.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())


def lower_half(side: int) -> str:
    """Return a mask whose lower half is drawn again."""
    alpha = numpy.full((side, side), 255, numpy.uint8)
    alpha[side // 2 :] = 0
    mask = Image.new("LA", (side, side))
    mask.putalpha(Image.fromarray(alpha))
    return data_uri(mask, "png", optimize=True)


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """Return an image as a data URI of a file of this kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
