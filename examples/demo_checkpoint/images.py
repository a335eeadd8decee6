"""Images of the demo: emoji of the font Noto Color Emoji as cut-outs, and batches of them on backgrounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from examples.demo_checkpoint.names import BACKGROUNDS, COLOURED, Emoji, is_held_out, object_emoji
from training.augment import NONE, AugmentStrength, View, uniform, view_sprites

FONT_SIZE = 109
"""The only size of the bitmaps of the font."""
SPRITE_SIDE = 128
"""Pixels; twice the side of the demo's images."""
SPRITE_CONTENT = 96
"""Longer side of the emoji in a sprite, in pixels. A ring of cells around it shows only the background, so a
square emoji has cells with the colour too."""
DEFAULT_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


class FontMissing(FileNotFoundError):
    """The emoji font is not installed."""


@dataclass(frozen=True)
class EmojiSet:
    """All emoji of the font, with their sprites."""

    emoji: tuple[Emoji, ...]
    sprites: Tensor
    """uint8, shape = (emoji, 4, SPRITE_SIDE, SPRITE_SIDE); RGB multiplied by alpha, and alpha."""

    def __len__(self) -> int:
        return len(self.emoji)

    def training_pairs(self) -> list[tuple[int, int]]:
        """Return the indices (emoji, background) of all training pairs; background 0 is white."""
        return [
            (index, ground)
            for index, emoji in enumerate(self.emoji)
            for ground, background in enumerate(BACKGROUNDS)
            if not is_held_out(emoji, background)
        ]

    def held_out_pairs(self) -> list[tuple[int, int]]:
        """Return the indices (emoji, background) of the pairs that are not trained on."""
        return [
            (index, 1 + ground)
            for index, emoji in enumerate(self.emoji)
            for ground, background in enumerate(COLOURED)
            if is_held_out(emoji, background)
        ]

    def view(
        self,
        indices: Sequence[int],
        side: int,
        strength: AugmentStrength = NONE,
        generator: Generator | None = None,
    ) -> View:
        """Return views of emoji without backgrounds."""
        sprites = self.sprites[list(indices)].float() / 255.0
        return view_sprites(sprites, side, strength, generator or torch.Generator())

    def draw(
        self,
        pairs: Sequence[tuple[int, int]],
        side: int,
        strength: AugmentStrength = NONE,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw images of pairs (emoji, background), shape = (pairs, 3, side, side), in [0, 1]."""
        generator = generator or torch.Generator()
        view = self.view([index for index, _ in pairs], side, strength, generator)
        return view.on(ground_colours([ground for _, ground in pairs], strength, generator))


def ground_colours(grounds: Sequence[int], strength: AugmentStrength, generator: Generator) -> Tensor:
    """Return slightly varied colours of backgrounds, in [0, 1], shape = (grounds, 3)."""
    colours = torch.tensor([BACKGROUNDS[ground].colour for ground in grounds], dtype=torch.float32) / 255.0
    return colours + uniform(tuple(colours.shape), strength.background, generator)


def bare_grounds(side: int) -> Tensor:
    """Return every background without an emoji, shape = (backgrounds, 3, side, side), in [0, 1]."""
    colours = ground_colours(range(len(BACKGROUNDS)), NONE, torch.Generator())
    return colours[:, :, None, None].expand(-1, -1, side, side)


def load_emoji_set(font: Path = DEFAULT_FONT) -> EmojiSet:
    """Draw all emoji. Raises FontMissing with the package of the font."""
    if not font.is_file():
        raise FontMissing(
            f"{font} is missing. Install the package fonts-noto-color-emoji, or give the file with --font."
        )
    drawer = ImageFont.truetype(str(font), FONT_SIZE)
    kept: list[Emoji] = []
    sprites: list[Tensor] = []
    for emoji in object_emoji():
        sprite = _sprite(emoji.character, drawer)
        if sprite is not None:
            kept.append(emoji)
            sprites.append(sprite)
    return EmojiSet(tuple(kept), torch.stack(sprites))


def _sprite(character: str, font: ImageFont.FreeTypeFont) -> Tensor | None:
    """Draw a character; return None if the font does not have it."""
    canvas = Image.new("RGBA", (2 * SPRITE_SIDE, 2 * SPRITE_SIDE), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((48, 48), character, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        return None
    cut = canvas.crop(box)
    factor = SPRITE_CONTENT / max(cut.size)
    size = (max(1, round(cut.width * factor)), max(1, round(cut.height * factor)))
    # "RGBa" is premultiplied by alpha, so that resizing makes no dark edges.
    cut = cut.convert("RGBa").resize(size, Image.Resampling.LANCZOS)
    sprite = Image.new("RGBa", (SPRITE_SIDE, SPRITE_SIDE), (0, 0, 0, 0))
    sprite.paste(cut, ((SPRITE_SIDE - size[0]) // 2, (SPRITE_SIDE - size[1]) // 2))
    return torch.from_numpy(numpy.asarray(sprite).copy()).permute(2, 0, 1)
