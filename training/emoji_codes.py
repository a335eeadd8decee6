"""The demo's pictures as codes: encoded once, and composed from an emoji and a background.

The encoder sees the whole picture, so the codes of one emoji on two backgrounds have next to nothing in
common, and a network that learnt them by heart could not combine. What is learnt to be drawn is therefore
composed: the codes of the emoji on white, and, where a cell shows background alone, one code that stands for
the background. The decoder learns to draw such codes (`drawing_trainer`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.image_tokenizer import ImageTokenizer
from training.augment import NONE, STRONG, WEAK, AugmentStrength
from training.emoji_names import BACKGROUNDS
from training.emoji_pictures import EmojiSet
from training.precision import autocast
from training.state import load_state, save_state, step_generator

ENCODE_BATCH = 64


@dataclass(frozen=True)
class EmojiCodes:
    """Codes of every training picture."""

    pairs: list[tuple[int, int]]
    """Every pair (emoji, background) that may be trained on."""
    white: Tensor
    """int64, shape = (emoji, cells): unmoved on white."""
    empty: Tensor
    """bool, shape = (emoji, cells): cells of the unmoved picture that show background alone."""
    grounds: Tensor
    """int64, shape = (backgrounds,): the code that stands for each."""
    weak: Tensor
    """int64, shape = (pairs, cells): slightly moved, as the encoder sees them."""
    strong_white: Tensor
    """int16, shape = (emoji, views, cells): strongly moved on white."""
    strong_coloured: Tensor
    """int16, shape = (coloured pairs, views, cells), in the order of the coloured among `pairs`."""

    def composed(self, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Codes that draw pairs (emoji, background), shape = (pairs, cells)."""
        emoji = torch.tensor([index for index, _ in pairs])
        grounds = self.grounds[[ground for _, ground in pairs]]
        return torch.where(self.empty[emoji], grounds[:, None], self.white[emoji])


def encode_emoji(
    emoji: EmojiSet,
    tokenizer: ImageTokenizer,
    side: int,
    path: Path,
    *,
    views_white: int,
    views_coloured: int,
) -> EmojiCodes:
    """Encode all training pictures, or read them from `path` where they stand already."""
    pairs = emoji.training_pairs()
    saved = load_state(path)
    if saved is None:
        white = [(index, 0) for index in range(len(emoji)) for _ in range(views_white)]
        coloured = [pair for pair in pairs if pair[1] for _ in range(views_coloured)]
        saved = {
            "plain": _encode(emoji, tokenizer, pairs, side, NONE, stream="plain"),
            "weak": _encode(emoji, tokenizer, pairs, side, WEAK, stream="weak"),
            "strong_white": _encode(emoji, tokenizer, white, side, STRONG, stream="white"),
            "strong_coloured": _encode(emoji, tokenizer, coloured, side, STRONG, stream="coloured"),
        }
        save_state(path, saved)
    plain: Tensor = saved["plain"].long()
    cells = plain.shape[1]
    empty = emoji.empty_cells(round(cells**0.5))
    return EmojiCodes(
        pairs=pairs,
        white=plain[[place for place, pair in enumerate(pairs) if pair[1] == 0]],
        empty=empty,
        grounds=background_codes(pairs, plain, empty),
        weak=saved["weak"].long(),
        strong_white=saved["strong_white"].view(len(emoji), views_white, cells),
        strong_coloured=saved["strong_coloured"].view(-1, views_coloured, cells),
    )


def background_codes(pairs: Sequence[tuple[int, int]], plain: Tensor, empty: Tensor) -> Tensor:
    """For each background the code that its empty cells have most often, and that no other background has.

    plain: codes of the unmoved pairs, shape = (pairs, cells); empty: shape = (emoji, cells).
    """
    chosen: list[int] = []
    for ground in range(len(BACKGROUNDS)):
        places = [place for place, pair in enumerate(pairs) if pair[1] == ground]
        cells = plain[places][empty[[pairs[place][0] for place in places]]]
        counts = torch.bincount(cells, minlength=1)
        ranked = counts.argsort(descending=True, stable=True).tolist()
        chosen.append(next(code for code in ranked if code not in chosen))
    return torch.tensor(chosen)


@torch.no_grad()
def _encode(
    emoji: EmojiSet,
    tokenizer: ImageTokenizer,
    pairs: Sequence[tuple[int, int]],
    side: int,
    strength: AugmentStrength,
    *,
    stream: str,
) -> Tensor:
    codes: list[Tensor] = []
    for start in range(0, len(pairs), ENCODE_BATCH):
        chunk = pairs[start : start + ENCODE_BATCH]
        pixels = emoji.draw(chunk, side, strength, step_generator(0, start, f"encode {stream}"))
        # Through the bytes of a picture file, as a served picture comes.
        # Moved pictures in mixed precision: the few codes that differ are one more variation.
        with autocast(pixels.device, enabled=strength != NONE):
            codes.append(tokenizer.encode((pixels * 255).floor() / 255).short())
    return torch.cat(codes)
