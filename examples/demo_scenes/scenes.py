"""Scenes: what an image of the demo shows, and which scenes are held out of training.

A scene is one big thing, or one to three small ones in blocks of half the side. Blocks begin at cells, so the
codes of a scene are composed of the codes of its things.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator

from examples.demo_scenes.things import COLOURS, MAIN_STYLES, PLACES, STYLES, Thing

Layout = Literal["whole", "small", "left", "right", "top", "bottom", "two", "three", "pair"]
Level = Literal["colour", "style", "background", "place", "number", "pair"]
LAYOUTS: dict[Layout, tuple[tuple[int, int], ...]] = {
    "whole": ((0, 0),),
    "small": ((0, 0),),
    "left": ((0, -2),),
    "right": ((0, 2),),
    "top": ((-2, 0),),
    "bottom": ((2, 0),),
    "two": ((0, -2), (0, 2)),
    "three": ((-2, 0), (2, -2), (2, 2)),
    "pair": ((0, -2), (0, 2)),
}
"""Offsets of the things from the middle in cells: rows, columns."""
CELLS = 8
"""Cells of a side of an image."""
NUMBERS: tuple[Layout, ...] = ("two", "three")
PLACED: tuple[Layout, ...] = ("left", "right", "top", "bottom")
HELD_OUT_OF = 8
"""One composition in this many is not trained on, at each level."""


@dataclass(frozen=True)
class Drawing:
    """A drawing of one thing: indices of the thing, of its style, and of its colour (0: its own)."""

    thing: int
    style: int
    colour: int = 0
    small: bool = False


@dataclass(frozen=True)
class Scene:
    """What an image shows."""

    things: tuple[int, ...]
    """Indices; two for a pair, else one."""
    style: int
    layout: Layout = "whole"
    colour: int = 0
    """0: the own colours of the thing; else 1 + index in COLOURS."""
    ground: int = 0
    """0: white; else 1 + index in COLOURS."""
    styled: bool = False
    """Whether the prompt names the style."""

    def items(self) -> list[tuple[Drawing, tuple[int, int]]]:
        """Return the drawings with their offsets in cells."""
        offsets = LAYOUTS[self.layout]
        things = self.things * (len(offsets) // len(self.things))
        small = self.layout != "whole"
        return [
            (Drawing(thing, self.style, self.colour, small), offset)
            for thing, offset in zip(things, offsets, strict=True)
        ]


def held_out(scene: Scene, things: Sequence[Thing]) -> set[Level]:
    """Return the levels at which a scene is held out; empty for a scene of the training data."""
    names = [things[index].name for index in scene.things]
    keys: list[tuple[Level, list[str]]] = []
    if scene.colour:
        keys.append(("colour", [*names, COLOURS[scene.colour - 1].adjective.form("m")]))
    if scene.ground:
        words = COLOURS[scene.ground - 1].background
        keys.extend(("background", [name, words]) for name in names)
    if scene.styled:
        keys.append(("style", [*names, STYLES[scene.style].phrase]))
    if scene.layout in PLACED:
        keys.append(("place", [*names, PLACES[scene.layout]]))
    if scene.layout in NUMBERS:
        keys.append(("number", [*names, scene.layout]))
    if scene.layout == "pair":
        keys.append(("pair", sorted(names)))
    return {level for level, words in keys if _chosen(words)}


def _chosen(words: Sequence[str]) -> bool:
    return hashlib.sha256("|".join(words).encode()).digest()[0] % HELD_OUT_OF == 0


def all_drawings(num_things: int) -> list[Drawing]:
    """Return every drawing that a scene can have."""
    drawings: list[Drawing] = []
    for thing in range(num_things):
        drawings += [Drawing(thing, style) for style in range(len(STYLES))]
        for style in range(MAIN_STYLES):
            drawings += [Drawing(thing, style, colour) for colour in range(1, 1 + len(COLOURS))]
            drawings.append(Drawing(thing, style, small=True))
    return drawings


@dataclass(frozen=True)
class SceneShares:
    """Shares of the kinds of scenes; the rest of 1 are single things in their own colours."""

    styled: float = 0.1
    coloured: float = 0.28
    small: float = 0.03
    placed: float = 0.10
    number: float = 0.12
    pair: float = 0.14
    on_ground: float = 0.3
    """Share with a coloured background, of all kinds."""


class SceneSampler:
    """Chooses random scenes, without those that are held out."""

    def __init__(self, things: Sequence[Thing]) -> None:
        self.things = things
        self._counted = [index for index, thing in enumerate(things) if thing.genitive is not None]

    def sample(self, shares: SceneShares, random: Generator) -> Scene:
        """Return a scene of the training data."""
        while True:
            scene = self.propose(shares, random)
            if not held_out(scene, self.things):
                return scene

    def propose(self, shares: SceneShares, random: Generator) -> Scene:
        """Return a scene that may be held out."""
        kind = float(torch.rand(1, generator=random))
        scene = Scene((below(len(self.things), random),), below(MAIN_STYLES, random))
        if float(torch.rand(1, generator=random)) < shares.on_ground:
            scene = replace(scene, ground=1 + below(len(COLOURS), random))
        for share, change in (
            (shares.styled, self._styled),
            (shares.coloured, self._coloured),
            (shares.small, self._small),
            (shares.placed, self._placed),
            (shares.number, self._number),
            (shares.pair, self._pair),
        ):
            if kind < share:
                return change(scene, random)
            kind -= share
        return replace(scene, style=below(len(STYLES), random))

    def _styled(self, scene: Scene, random: Generator) -> Scene:
        return replace(scene, style=below(len(STYLES), random), styled=True)

    def _coloured(self, scene: Scene, random: Generator) -> Scene:
        colour = 1 + below(len(COLOURS), random)
        # A thing on a background of its own colour cannot be seen.
        return replace(scene, colour=colour, ground=0 if colour == scene.ground else scene.ground)

    def _small(self, scene: Scene, _random: Generator) -> Scene:
        return replace(scene, layout="small")

    def _placed(self, scene: Scene, random: Generator) -> Scene:
        return replace(scene, layout=_pick(PLACED, random))

    def _number(self, scene: Scene, random: Generator) -> Scene:
        if not self._counted:
            return scene
        thing = self._counted[below(len(self._counted), random)]
        return replace(scene, things=(thing,), layout=_pick(NUMBERS, random))

    def _pair(self, scene: Scene, random: Generator) -> Scene:
        first = scene.things[0]
        second = (first + 1 + below(len(self.things) - 1, random)) % len(self.things)
        return replace(scene, things=(first, second), layout="pair")


def below(limit: int, random: Generator) -> int:
    """Return a random index."""
    return int(torch.randint(limit, (1,), generator=random))


def _pick(layouts: Sequence[Layout], random: Generator) -> Layout:
    return layouts[below(len(layouts), random)]
