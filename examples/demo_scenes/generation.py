"""Writes generation_config.json of the checkpoint: its sampling settings, and examples for the playground."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.demo_checkpoint.generation import QUALITY, data_uri, lower_half, to_image
from examples.demo_scenes.drawing import Cast
from examples.demo_scenes.phrases import caption, style_prompt
from examples.demo_scenes.scenes import Layout, Scene
from examples.demo_scenes.things import COLOURS, Thing
from model.files.generation_config import GENERATION_CONFIG_FILE, parse_generation_config
from training.state import replace_file

DRAWING = {"temperature": 0.6, "top_k": 64, "top_p": 0.9}
CAPTIONS = {"temperature": 0.5}
"""Labels are smoothed in training, so the published 0.9 draws many unlikely tokens."""
TEXTS = {"temperature": 0.3}
RED, ORANGE, YELLOW, GREEN, LIGHT_BLUE, BLUE, PURPLE, PINK = range(1, 1 + len(COLOURS))
FLAT = 3
"""Index of the style in STYLES."""


def example_scenes(things: Sequence[Thing]) -> list[Scene]:
    """Return the scenes of the playground's prompts; those whose things are missing are left out."""
    index = {thing.name: place for place, thing in enumerate(things)}
    wanted: list[tuple[tuple[str, ...], Layout, dict[str, Any]]] = [
        (("кот",), "whole", {"colour": ORANGE}),
        (("кот", "яблоко"), "pair", {}),
        (("звезда",), "three", {"ground": BLUE}),
        (("машина",), "whole", {"colour": BLUE}),
        (("сова",), "whole", {"styled": True, "style": FLAT}),
        (("пингвин",), "left", {}),
        (("клубника",), "whole", {"ground": PINK}),
        (("ракета", "месяц"), "pair", {"ground": PURPLE}),
    ]
    scenes = [
        Scene(tuple(index[name] for name in names), options.pop("style", 0), layout, **options)
        for names, layout, options in wanted
        if all(name in index for name in names)
    ]
    return scenes or [Scene((place,), 0) for place in range(2)]


def prompt_of(scene: Scene, things: Sequence[Thing]) -> str:
    """Return the prompt of a scene in the form of captions."""
    return style_prompt(scene, things) if scene.styled else caption(scene, things)


def write_generation_config(folder: Path, cast: Cast, side: int) -> None:
    """Write the file. side: size of the example images in pixels."""
    document = {
        "do_sample": True,
        "text2image": DRAWING,
        "image2text": CAPTIONS,
        "text2text": TEXTS,
        "examples": _examples(cast, side),
    }
    _write(folder, document)


def set_probability_temperatures(folder: Path, temperatures: Mapping[str, float]) -> None:
    """Write the temperature of the probabilities of each task into the file."""
    document = json.loads((folder / GENERATION_CONFIG_FILE).read_text(encoding="utf-8"))
    _write(folder, document | {task: {"temperature": value} for task, value in temperatures.items()})


def _write(folder: Path, document: dict[str, Any]) -> None:
    parse_generation_config(document)
    with replace_file(folder / GENERATION_CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _examples(cast: Cast, side: int) -> dict[str, list[dict[str, Any]]]:
    things, scenes = cast.things, example_scenes(cast.things)
    prompts = [prompt_of(scene, things) for scene in scenes]
    # A caption has no words for the style.
    captions = [caption(scene, things) for scene in scenes]

    def image(place: int) -> str:
        return data_uri(to_image(cast.draw([scenes[place]], side)[0]), "webp", quality=QUALITY)

    last = len(scenes) - 1
    redrawn = {"image": image(last), "mask": lower_half(side)}
    names = [things[scene.things[0]].name for scene in scenes]
    return {
        "text2image": [
            *({"prompt": prompt} for prompt in prompts),
            {"prompt": prompts[last], "image_prompt": redrawn},
        ],
        "image2text": [{"image": image(place)} for place in range(min(3, len(scenes)))],
        "text2text": [{"prompt": prompt} for prompt in ("маленький", "два", "красное")],
        "rank_images": [{"text": captions[0], "images": [image(place) for place in (last, 0)]}],
        "rank_texts": [{"image": image(last), "texts": list(dict.fromkeys([captions[0], captions[last]]))}],
        "classify": [{"image": image(0), "classes": list(dict.fromkeys(names))}],
    }
