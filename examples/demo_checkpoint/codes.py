"""Codes of the demo's images, composed from an emoji and a background.

A cell that shows only background has the code of the plain background there; all other cells have the codes
of the emoji on white. The image tokenizer is trained on the same compositions. So the model can draw pairs
that it has never seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from examples.demo_checkpoint.images import EmojiSet, bare_grounds
from model.image_tokenizer import ImageTokenizer
from training.augment import NONE, AugmentStrength
from training.image_tokenizer_trainer import as_coded
from training.state import load_state, save_state

ENCODE_BATCH = 64


@dataclass(frozen=True)
class EmojiCodes:
    """Codes of every emoji and every background."""

    white: Tensor
    """int64, shape = (emoji, cells): codes of unmoved emoji on white."""
    empty: Tensor
    """bool, shape = (emoji, cells): cells of the unmoved image that show only background."""
    grounds: Tensor
    """int64, shape = (backgrounds, cells): codes of plain backgrounds."""

    def composed(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Return codes that draw pairs (emoji, background), shape = (pairs, cells)."""
        emoji = [index for index, _ in pairs]
        grounds = self.grounds[[ground for _, ground in pairs]]
        return torch.where(self.empty[emoji], grounds, self.white[emoji])


def emoji_codes(emoji: EmojiSet, tokenizer: ImageTokenizer, side: int, path: Path) -> EmojiCodes:
    """Encode emoji and backgrounds, or read the codes from `path` if it exists."""
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
    """Encode images of pairs (emoji, background); return codes, int64, shape = (pairs, cells)."""
    random = random or torch.Generator()
    codes: list[Tensor] = []
    for start in range(0, len(pairs), ENCODE_BATCH):
        pixels = emoji.draw(pairs[start : start + ENCODE_BATCH], side, strength, random)
        # Rounded to bytes, as in the image files that a server reads.
        # In float32, as the server encodes. In bfloat16 three of ten codes of a moved image differ.
        codes.append(tokenizer.encode(as_coded((pixels * 255).floor() / 255, tokenizer.config)))
    return torch.cat(codes)
