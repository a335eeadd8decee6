"""Writes generation_config.json of a trained checkpoint: inherited settings, and examples of its data set."""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from model.files.generation_config import GENERATION_CONFIG_FILE, parse_generation_config
from model.images import open_image
from training.data import DataError, Example
from training.state import replace_file
from training.tasks import TaskName

MAX_PROMPTS = 6
MAX_IMAGES = 2
MAX_CLASSES = 8
MAX_CHARACTERS = 200
"""Longer texts do not fit on a button of the playground."""
IMAGE_SIDE = 96
"""Largest side of an example image in pixels. Every heartbeat of a worker carries the examples."""
MAX_IMAGE_BYTES = 6000
QUALITY = 80

Body = dict[str, Any]


def example_bodies(task: TaskName, examples: Sequence[Example]) -> dict[str, list[Body]]:
    """Return requests that show a task on some of its examples, by the served task."""
    fitting = [e for e in examples if _fits(e.text) and (task != "answer" or _fits(e.question))]
    prompts = list(dict.fromkeys(example.text for example in fitting))
    match task:
        case "draw":
            return {"text2image": [{"prompt": prompt} for prompt in prompts[:MAX_PROMPTS]]}
        case "text":
            return {"text2text": [{"prompt": prompt.split()[0]} for prompt in prompts[:MAX_IMAGES]]}
        case "caption":
            return {"image2text": _with_images(fitting, lambda _example: {})}
        case "classify":
            classes = prompts[:MAX_CLASSES]
            known = [example for example in fitting if example.text in classes]
            return (
                {"classify": _with_images(known, lambda _: {"classes": classes})} if len(classes) > 1 else {}
            )
        case "answer":
            return {"answer": _with_images(fitting, lambda example: {"question": example.question})}


def write_generation_config(folder: Path, start: Path, examples: Mapping[str, list[Body]]) -> None:
    """Write the file. start: folder of the initial checkpoint. examples: requests by task."""
    source = start / GENERATION_CONFIG_FILE
    document: dict[str, Any] = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    # The examples of the initial checkpoint show other data.
    document["examples"] = {task: bodies for task, bodies in examples.items() if bodies}
    parse_generation_config(document)
    with replace_file(folder / GENERATION_CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_images(examples: Sequence[Example], fields: Callable[[Example], Body]) -> list[Body]:
    """Return the fields of some examples with different texts, and their images, if they have any."""
    bodies: dict[str, Body] = {}
    for example in examples:
        if len(bodies) == MAX_IMAGES:
            break
        image = {} if example.image is None else {"image": _small(example)}
        if image.get("image", "") is not None:
            bodies.setdefault(f"{example.question} {example.text}", fields(example) | image)
    return list(bodies.values())


def _small(example: Example) -> str | None:
    """Return an image as a small data URI; None if it stays too large, or cannot be read."""
    try:
        image = open_image(example.read())
    except (DataError, ValueError, OSError):
        return None
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY)
    data = file.getvalue()
    if len(data) > MAX_IMAGE_BYTES:
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def _fits(text: str) -> bool:
    return text.isprintable() and bool(text.strip()) and len(text) <= MAX_CHARACTERS
