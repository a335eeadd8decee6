"""Recognises what an image shows: the nearest of all images that a prompt of its kind can mean."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from examples.demo_scenes.drawing import Cast, bare_grounds
from examples.demo_scenes.scenes import Layout, Scene
from examples.demo_scenes.things import COLOURS, MAIN_STYLES, STYLES

Kind = Literal["plain", "coloured", "arranged", "first", "second"]
ARRANGED: tuple[Layout, ...] = ("small", "left", "right", "top", "bottom", "two", "three")
CORNER = 3
"""Pixels of a corner that show the background."""
DRAW_BATCH = 128
CACHED = 12


class Recogniser:
    """Finds the scene whose exact image is nearest to an image."""

    def __init__(self, cast: Cast, side: int) -> None:
        self._cast, self._side = cast, side
        self._grounds = bare_grounds(side)[:, :, 0, 0]
        self._images = lru_cache(maxsize=CACHED)(self._draw)

    def shows(self, image: Tensor, scene: Scene) -> bool:
        """Return whether an image shows a scene: things, number, places, colours, and a style that was named.

        image: shape = (3, side, side), in [0, 1].
        """
        if self.ground(image) != scene.ground:
            return False
        if scene.layout == "pair":
            found = [self.nearest(image, kind, scene.ground).things for kind in ("first", "second")]
            return found == [(thing,) for thing in scene.things]
        found = self.nearest(image, kind_of(scene), scene.ground)
        if scene.styled and found.style != scene.style:
            return False
        return (found.things, found.layout, found.colour) == (scene.things, scene.layout, scene.colour)

    def ground(self, image: Tensor) -> int:
        """Return the background that is nearest to the corners; 0: white."""
        corners = [image[:, rows, columns] for rows in _ENDS for columns in _ENDS]
        middle = torch.stack([corner.mean((1, 2)) for corner in corners]).median(0).values
        return int((self._grounds - middle).square().sum(1).argmin())

    def nearest(self, image: Tensor, kind: Kind, ground: int = 0) -> Scene:
        """Return the nearest scene of a kind on a background."""
        scenes, vectors = self._images(kind, ground)
        vector = _vector(image[None], kind)[0]
        # |a − b|² without |b|², which is the same for all.
        return scenes[int((vectors.square().sum(1) - 2 * (vectors @ vector)).argmin())]

    def _draw(self, kind: Kind, ground: int) -> tuple[list[Scene], Tensor]:
        scenes = candidates(kind, len(self._cast.things), ground)
        vectors = [
            _vector(self._cast.draw(scenes[start : start + DRAW_BATCH], self._side), kind)
            for start in range(0, len(scenes), DRAW_BATCH)
        ]
        return scenes, torch.cat(vectors)


_ENDS = (slice(None, CORNER), slice(-CORNER, None))


def kind_of(scene: Scene) -> Kind:
    """Return the kind of scenes that a scene is compared with."""
    if scene.colour:
        return "coloured"
    return "plain" if scene.layout == "whole" else "arranged"


def candidates(kind: Kind, num_things: int, ground: int) -> list[Scene]:
    """Return all scenes of a kind on a background."""
    plain = [
        Scene((thing,), style, ground=ground) for thing in range(num_things) for style in range(len(STYLES))
    ]
    if kind == "plain":
        return plain
    main = [(thing, style) for thing in range(num_things) for style in range(MAIN_STYLES)]
    if kind == "coloured":
        colours = range(1, 1 + len(COLOURS))
        return plain + [
            Scene((thing,), style, colour=colour, ground=ground)
            for thing, style in main
            for colour in colours
        ]
    layouts: Sequence[Layout] = ("left",) if kind == "first" else ("right",) if kind == "second" else ARRANGED
    small = [Scene((thing,), style, layout, ground=ground) for thing, style in main for layout in layouts]
    return small if kind in ("first", "second") else plain + small


def _vector(images: Tensor, kind: Kind) -> Tensor:
    """Pool to half the side, so that a shift of one pixel does not decide; of a pair take one half."""
    pooled = functional.avg_pool2d(images, 2)
    middle = pooled.shape[-1] // 2
    if kind == "first":
        pooled = pooled[..., :middle]
    elif kind == "second":
        pooled = pooled[..., middle:]
    return pooled.flatten(1)
