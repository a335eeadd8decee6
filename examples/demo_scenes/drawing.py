"""Draws scenes: as pixels of cut-outs, and as codes composed of the codes of drawings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from examples.demo_scenes.scenes import CELLS, Drawing, Scene, all_drawings
from examples.demo_scenes.sets import SPRITE_SIDE
from examples.demo_scenes.things import COLOURS, Thing
from model.image_tokenizer import ImageTokenizer
from training.augment import EMPTY_BELOW, NONE, AugmentStrength, uniform, view_sprites
from training.image_tokenizer_trainer import as_coded

SMALL_SIDE = 74
"""Side of a small sprite: a drawing of 28 of the 64 pixels of an image, in a block of 32."""
DARKEST, LIGHTEST = 0.2, 0.8
"""Range of the lightness of a recoloured drawing: 0 black, 0.5 the colour itself, 1 white."""
ENCODE_BATCH = 64
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Cast:
    """All things, with their cut-outs in all styles."""

    things: tuple[Thing, ...]
    sprites: Tensor
    """uint8, shape = (things, styles, 4, SPRITE_SIDE, SPRITE_SIDE); RGB multiplied by alpha, and alpha."""

    def cut_outs(self, drawings: Sequence[Drawing]) -> Tensor:
        """Return the sprites of drawings, shape = (drawings, 4, SPRITE_SIDE, SPRITE_SIDE), in [0, 1]."""
        index = [d.thing for d in drawings], [d.style for d in drawings]
        sprites = self.sprites[index].float() / 255.0
        coloured = [place for place, d in enumerate(drawings) if d.colour]
        if coloured:
            colours = _rgb([drawings[place].colour for place in coloured])
            sprites[coloured] = recolour(sprites[coloured], colours)
        small = [place for place, d in enumerate(drawings) if d.small]
        if small:
            shrunk = functional.interpolate(sprites[small], SMALL_SIDE, mode="bilinear", antialias=True)
            first = (SPRITE_SIDE - SMALL_SIDE) // 2
            last = SPRITE_SIDE - SMALL_SIDE - first
            sprites[small] = functional.pad(shrunk, (first, last, first, last))
        return sprites

    def draw(
        self,
        scenes: Sequence[Scene],
        side: int,
        strength: AugmentStrength = NONE,
        random: Generator | None = None,
    ) -> Tensor:
        """Draw scenes, shape = (scenes, 3, side, side), in [0, 1]."""
        random = random or torch.Generator()
        items = [(place, *item) for place, scene in enumerate(scenes) for item in scene.items()]
        view = view_sprites(self.cut_outs([drawing for _, drawing, _ in items]), side, strength, random)
        cell = side // CELLS
        canvas = torch.zeros(len(scenes), 4, side, side)
        for (place, _, (row, column)), sprite, light in zip(items, view.sprites, view.light, strict=True):
            lit = torch.cat([(sprite[:3] * light).clamp(max=1.0), sprite[3:]])
            canvas[place] += lit.roll((row * cell, column * cell), (1, 2))
        # Moved neighbours may touch in a few pixels.
        canvas.clamp_(max=1.0)
        grounds = ground_colours([scene.ground for scene in scenes], strength, random)
        return (canvas[:, :3] + (1.0 - canvas[:, 3:]) * grounds[:, :, None, None]).clamp_(0.0, 1.0)

    def empty_cells(self, drawings: Sequence[Drawing]) -> Tensor:
        """Return which cells show only the background, bool, shape = (drawings, CELLS, CELLS)."""
        alpha = self.cut_outs(drawings)[:, 3:]
        return functional.max_pool2d(alpha, SPRITE_SIDE // CELLS)[:, 0] < EMPTY_BELOW


def recolour(sprites: Tensor, colours: Tensor) -> Tensor:
    """Draw sprites in one colour each, from its darker to its lighter tones.

    sprites: shape = (batch, 4, side, side), RGB multiplied by alpha. colours: shape = (batch, 3), in [0, 1].
    """
    alpha = sprites[:, 3:]
    luma = (sprites[:, :3] * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    mean = (luma.sum((1, 2, 3)) / alpha.sum((1, 2, 3))).clamp(0.05, 0.95)[:, None, None, None]
    # A power maps the mean of each drawing to the middle, so that white and black things are coloured too.
    lightness = (luma / alpha.clamp(min=1e-3)).clamp(1e-3, 1.0) ** (
        torch.log(mean.new_tensor(0.5)) / mean.log()
    )
    lightness = DARKEST + (LIGHTEST - DARKEST) * lightness
    tones = colours[:, :, None, None]
    light = tones + (1.0 - tones) * (2.0 * lightness - 1.0).clamp(min=0.0)
    return torch.cat([light * (2.0 * lightness).clamp(max=1.0) * alpha, alpha], dim=1)


def ground_colours(grounds: Sequence[int], strength: AugmentStrength, random: Generator) -> Tensor:
    """Return slightly varied colours of backgrounds, in [0, 1], shape = (grounds, 3)."""
    colours = _rgb(grounds)
    return colours + uniform(tuple(colours.shape), strength.background, random)


def bare_grounds(side: int) -> Tensor:
    """Return every background without a thing, shape = (backgrounds, 3, side, side), in [0, 1]."""
    return _rgb(range(1 + len(COLOURS)))[:, :, None, None].expand(-1, -1, side, side)


def _rgb(colours: Sequence[int]) -> Tensor:
    table = [(255, 255, 255), *(colour.rgb for colour in COLOURS)]
    return torch.tensor([table[colour] for colour in colours], dtype=torch.float32) / 255.0


@dataclass(frozen=True)
class SceneCodes:
    """Codes of every drawing in the middle of a white image, and of every background."""

    drawings: dict[Drawing, int]
    """Indices in `codes` and `empty`."""
    codes: Tensor
    """int64, shape = (drawings, CELLS, CELLS)."""
    empty: Tensor
    """bool, shape = (drawings, CELLS, CELLS): cells that show only background."""
    grounds: Tensor
    """int64, shape = (backgrounds, CELLS, CELLS)."""

    def composed(self, scenes: Sequence[Scene]) -> Tensor:
        """Return codes that draw scenes, shape = (scenes, CELLS²)."""
        canvas = self.grounds[[scene.ground for scene in scenes]].clone()
        for place, scene in enumerate(scenes):
            for drawing, offset in scene.items():
                index = self.drawings[drawing]
                shown = ~self.empty[index].roll(offset, (0, 1))
                canvas[place][shown] = self.codes[index].roll(offset, (0, 1))[shown]
        return canvas.flatten(1)


@torch.no_grad()
def scene_codes(cast: Cast, tokenizer: ImageTokenizer, side: int) -> SceneCodes:
    """Encode all drawings and backgrounds."""
    drawings = all_drawings(len(cast.things))
    layouts = [Scene((d.thing,), d.style, "small" if d.small else "whole", d.colour) for d in drawings]
    codes: list[Tensor] = []
    empty: list[Tensor] = []
    for start in range(0, len(drawings), ENCODE_BATCH):
        part = slice(start, start + ENCODE_BATCH)
        codes.append(encode_scenes(cast, tokenizer, layouts[part], side))
        empty.append(cast.empty_cells(drawings[part]))
    grounds = _encode(tokenizer, bare_grounds(side))
    square = (-1, CELLS, CELLS)
    return SceneCodes(
        {drawing: index for index, drawing in enumerate(drawings)},
        torch.cat(codes).view(square),
        torch.cat(empty),
        grounds.view(square),
    )


@torch.no_grad()
def encode_scenes(
    cast: Cast,
    tokenizer: ImageTokenizer,
    scenes: Sequence[Scene],
    side: int,
    *,
    strength: AugmentStrength = NONE,
    random: Generator | None = None,
) -> Tensor:
    """Encode images of scenes; return codes, int64, shape = (scenes, CELLS²)."""
    pixels = cast.draw(scenes, side, strength, random)
    # Rounded to bytes, as in the image files that a server reads.
    return _encode(tokenizer, (pixels * 255).floor() / 255)


def _encode(tokenizer: ImageTokenizer, pixels: Tensor) -> Tensor:
    device = tokenizer.quantize.embed.weight.device
    return tokenizer.encode(as_coded(pixels, tokenizer.config).to(device)).cpu()
