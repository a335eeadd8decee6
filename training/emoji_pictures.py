"""The demo's pictures: emoji of the Noto Color Emoji font as cut-outs, and batches of them on backgrounds.

Knows the font and the colours; the names and the held-out pairs come from `emoji_names`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from training.augment import NONE, AugmentStrength, View, uniform, view_sprites
from training.emoji_names import BACKGROUNDS, COLOURED, Emoji, is_held_out, object_emoji

FONT_SIZE = 109
"""The only size of the font's bitmaps."""
SPRITE_SIDE = 128
"""Pixels; twice the side of the demo's pictures."""
SPRITE_CONTENT = 96
"""Longer side of the emoji within a sprite, in pixels: a ring of cells around it shows the background alone,
or a square emoji would leave no cell that could say its colour."""
DEFAULT_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


class FontMissing(FileNotFoundError):
    """The emoji font is not on this machine."""


@dataclass(frozen=True)
class EmojiSet:
    """All emoji that the font has, with their sprites."""

    emoji: tuple[Emoji, ...]
    sprites: Tensor
    """uint8, shape = (emoji, 4, SPRITE_SIDE, SPRITE_SIDE); RGB multiplied by alpha, and alpha."""

    def __len__(self) -> int:
        return len(self.emoji)

    def training_pairs(self) -> list[tuple[int, int]]:
        """Indices (emoji, background) of every pair that may be trained on; background 0 is white."""
        return [
            (index, ground)
            for index, emoji in enumerate(self.emoji)
            for ground, background in enumerate(BACKGROUNDS)
            if not is_held_out(emoji, background)
        ]

    def held_out_pairs(self) -> list[tuple[int, int]]:
        """Indices (emoji, background) of the pairs that are never trained on."""
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
        """Views of emoji, to be laid on backgrounds."""
        sprites = self.sprites[list(indices)].float() / 255.0
        return view_sprites(sprites, side, strength, generator or torch.Generator())

    def draw(
        self,
        pairs: Sequence[tuple[int, int]],
        side: int,
        strength: AugmentStrength = NONE,
        generator: Generator | None = None,
    ) -> Tensor:
        """Pictures of pairs (emoji, background), shape = (pairs, 3, side, side), in [0, 1]."""
        generator = generator or torch.Generator()
        view = self.view([index for index, _ in pairs], side, strength, generator)
        return view.on(ground_colours([ground for _, ground in pairs], strength, generator))


def ground_colours(grounds: Sequence[int], strength: AugmentStrength, generator: Generator) -> Tensor:
    """Colours of backgrounds, each a little off, in [0, 1], shape = (grounds, 3)."""
    colours = torch.tensor([BACKGROUNDS[ground].colour for ground in grounds], dtype=torch.float32) / 255.0
    return colours + uniform(tuple(colours.shape), strength.background, generator)


def bare_grounds(side: int) -> Tensor:
    """Every background without an emoji, shape = (backgrounds, 3, side, side), in [0, 1]."""
    colours = ground_colours(range(len(BACKGROUNDS)), NONE, torch.Generator())
    return colours[:, :, None, None].expand(-1, -1, side, side)


def load_emoji_set(font: Path = DEFAULT_FONT) -> EmojiSet:
    """Draw all emoji. Raises FontMissing, naming the package that has the font."""
    if not font.is_file():
        raise FontMissing(
            f"{font} is missing: install the package fonts-noto-color-emoji, or name the file with --font"
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
    """None where the font has no picture of the character."""
    canvas = Image.new("RGBA", (2 * SPRITE_SIDE, 2 * SPRITE_SIDE), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((48, 48), character, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        return None
    cut = canvas.crop(box)
    factor = SPRITE_CONTENT / max(cut.size)
    size = (max(1, round(cut.width * factor)), max(1, round(cut.height * factor)))
    # "RGBa" is multiplied by alpha, so that resizing draws no dark rims.
    cut = cut.convert("RGBa").resize(size, Image.Resampling.LANCZOS)
    sprite = Image.new("RGBa", (SPRITE_SIDE, SPRITE_SIDE), (0, 0, 0, 0))
    sprite.paste(cut, ((SPRITE_SIDE - size[0]) // 2, (SPRITE_SIDE - size[1]) // 2))
    return torch.from_numpy(numpy.asarray(sprite).copy()).permute(2, 0, 1)
