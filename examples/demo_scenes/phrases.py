"""Russian phrases of scenes: captions in one form, and prompts in many, also with unknown words."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator

from examples.demo_scenes.scenes import NUMBERS, PLACED, Scene, below
from examples.demo_scenes.things import COLOURS, PLACES, SMALL, STYLES, Thing, numeral, one

CONSONANTS, VOWELS = "бвгдзклмнпрстфхцчш", "аеиоуыэюя"


@dataclass(frozen=True)
class PromptShares:
    """Shares of the variants of prompts."""

    synonym: float = 0.3
    plain_e: float = 0.4
    """«е» for «ё»."""
    unknown_added: float = 0.1
    """A word that does not exist is put somewhere; the image does not change."""
    unknown_thing: float = 0.03
    """A word that does not exist instead of the name; any thing is drawn."""
    one: float = 0.05
    """«один» before a single thing."""


def caption(scene: Scene, things: Sequence[Thing]) -> str:
    """Return the name of a scene: «оранжевый кот на синем фоне»."""
    first = things[scene.things[0]]
    if scene.colour:
        return _on_ground(f"{COLOURS[scene.colour - 1].adjective.form(first.gender)} {first.name}", scene)
    return _on_ground(_core(scene, first, [things[index].name for index in scene.things]), scene)


def style_prompt(scene: Scene, things: Sequence[Thing]) -> str:
    """Return the caption with the adjective of the style: «плоский кот»."""
    thing = things[scene.things[0]]
    return f"{STYLES[scene.style].adjective.form(thing.gender)} {caption(scene, things)}"


def prompt(scene: Scene, things: Sequence[Thing], shares: PromptShares, random: Generator) -> str:
    """Return a random prompt for a scene."""
    chosen = [things[index] for index in scene.things]
    invented = _chance(shares.unknown_thing, random)
    names = [invented_word(random) if invented else _name(thing, shares, random) for thing in chosen]
    text = _on_ground(_varied(scene, chosen[0], names, shares, random), scene)
    if not invented and _chance(shares.unknown_added, random):
        words = text.split()
        words.insert(below(len(words) + 1, random), invented_word(random))
        text = " ".join(words)
    return text.replace("ё", "е") if _chance(shares.plain_e, random) else text


def invented_word(random: Generator) -> str:
    """Return two or three syllables that mean nothing."""
    letters: list[str] = []
    for _ in range(2 + below(2, random)):
        letters += [CONSONANTS[below(len(CONSONANTS), random)], VOWELS[below(len(VOWELS), random)]]
    if _chance(0.5, random):
        letters.append(CONSONANTS[below(len(CONSONANTS), random)])
    return "".join(letters)


def all_texts(things: Sequence[Thing]) -> list[str]:
    """Return texts with every word, for the vocabulary."""
    texts: list[str] = []
    for thing in things:
        gender = thing.gender
        texts += [thing.name, *thing.synonyms] * 4
        texts += [f"{SMALL.form(gender)} {thing.name} {place}" for place in PLACES.values()]
        texts += [f"{style.adjective.form(gender)} {thing.name} {style.phrase}" for style in STYLES]
        texts.append(f"{one(gender)} {thing.name} и")
        if thing.genitive is not None:
            texts += [f"{numeral(layout, gender)} {thing.genitive}" for layout in NUMBERS] * 2
        for colour in COLOURS:
            adjectives = [colour.adjective, *([colour.other] if colour.other else [])]
            texts += [f"{word.form(gender)} {thing.name} {colour.background}" for word in adjectives]
    return texts + [text.replace("ё", "е") for text in texts if "ё" in text]


def _varied(scene: Scene, thing: Thing, names: list[str], shares: PromptShares, random: Generator) -> str:
    """Return one of several phrases for the things of a scene."""
    name, gender = names[0], thing.gender_of(names[0])
    if scene.styled:
        style = STYLES[scene.style]
        adjective = f"{style.adjective.form(gender)} {name}"
        return adjective if _chance(0.5, random) else f"{name} {style.phrase}"
    if scene.colour:
        colour = COLOURS[scene.colour - 1]
        word = colour.other if colour.other and _chance(0.5, random) else colour.adjective
        return f"{word.form(gender)} {name}"
    if scene.layout in PLACED and _chance(0.5, random):
        place = PLACES[scene.layout]
        return f"{place} {name}" if _chance(0.4, random) else f"{SMALL.form(gender)} {name} {place}"
    if scene.layout == "whole" and _chance(shares.one, random):
        return f"{one(gender)} {name}"
    return _core(scene, thing, names)


def _core(scene: Scene, thing: Thing, names: Sequence[str]) -> str:
    """Return the phrase without colour, style and background. The numbers have the name of the table."""
    match scene.layout:
        case "whole":
            return names[0]
        case "small":
            return f"{SMALL.form(thing.gender_of(names[0]))} {names[0]}"
        case "two" | "three":
            return f"{numeral(scene.layout, thing.gender)} {thing.genitive}"
        case "pair":
            return f"{names[0]} и {names[1]}"
        case _:
            return f"{names[0]} {PLACES[scene.layout]}"


def _on_ground(text: str, scene: Scene) -> str:
    return f"{text} {COLOURS[scene.ground - 1].background}" if scene.ground else text


def _name(thing: Thing, shares: PromptShares, random: Generator) -> str:
    if thing.synonyms and _chance(shares.synonym, random):
        return thing.synonyms[below(len(thing.synonyms), random)]
    return thing.name


def _chance(share: float, random: Generator) -> bool:
    return float(torch.rand(1, generator=random)) < share
