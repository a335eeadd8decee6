"""The demo's pictures as codes, composed from an emoji and a background.

What is learnt to be drawn is composed: the codes of the emoji on white, and, where a cell shows background
alone, the code that the bare background has there. The image tokenizer is trained to draw just that, too
(`emoji_batches`), so that a pair that no training saw is drawn like all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from model.image_tokenizer import ImageTokenizer
from training.augment import NONE, AugmentStrength
from training.emoji_pictures import EmojiSet, bare_grounds
from training.image_tokenizer_trainer import as_coded
from training.state import load_state, save_state

ENCODE_BATCH = 64


@dataclass(frozen=True)
class EmojiCodes:
    """Codes of every emoji and every background."""

    white: Tensor
    """int64, shape = (emoji, cells): unmoved on white."""
    empty: Tensor
    """bool, shape = (emoji, cells): cells of the unmoved picture that show background alone."""
    grounds: Tensor
    """int64, shape = (backgrounds, cells)."""

    def composed(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Codes that draw pairs (emoji, background), shape = (pairs, cells)."""
        emoji = [index for index, _ in pairs]
        grounds = self.grounds[[ground for _, ground in pairs]]
        return torch.where(self.empty[emoji], grounds, self.white[emoji])


def emoji_codes(emoji: EmojiSet, tokenizer: ImageTokenizer, side: int, path: Path) -> EmojiCodes:
    """Encode what is to be drawn, or read it from `path` where it stands already."""
    saved = load_state(path)
    cells = side // tokenizer.config.upsampling
    empty = emoji.view(range(len(emoji)), side).empty_cells(cells).flatten(1)
    if saved is None:
        white = encode_pairs(emoji, tokenizer, [(index, 0) for index in range(len(emoji))], side)
        with torch.no_grad():
            grounds = tokenizer.encode(as_coded(bare_grounds(side), tokenizer.config))
        saved = {"white": white, "grounds": grounds}
        save_state(path, saved)
    return EmojiCodes(saved["white"], empty, saved["grounds"])


@torch.no_grad()
def encode_pairs(
    emoji: EmojiSet,
    tokenizer: ImageTokenizer,
    pairs: Sequence[tuple[int, int]],
    side: int,
    *,
    strength: AugmentStrength = NONE,
    random: Generator | None = None,
) -> Tensor:
    """Codes of pictures of pairs (emoji, background), int64, shape = (pairs, cells)."""
    random = random or torch.Generator()
    codes: list[Tensor] = []
    for start in range(0, len(pairs), ENCODE_BATCH):
        pixels = emoji.draw(pairs[start : start + ENCODE_BATCH], side, strength, random)
        # Through the bytes of a picture file, as a served picture comes.
        # In float32, as the server encodes: in bfloat16 three codes in ten of a moved picture are others.
        codes.append(tokenizer.encode(as_coded((pixels * 255).floor() / 255, tokenizer.config)))
    return torch.cat(codes)
