"""The demo's training rows: emoji pictures as codes, with prompts and captions around them.

Knows how often each kind of row comes; the pictures come from `emoji_pictures`, the layouts from `sequences`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor

from model.image_tokenizer import ImageTokenizer
from training.augment import NONE, STRONG, WEAK, AugmentStrength
from training.emoji_names import ALIASES, BACKGROUNDS, phrase
from training.emoji_pictures import EmojiSet
from training.precision import autocast
from training.sequences import LossWeights, RowBuilder, Rows
from training.state import load_state, save_state, step_generator

ENCODE_BATCH = 64
DRAW_WEIGHTS = LossWeights(left=1.0, image=7.0, right=0.0)
NAME_WEIGHTS = LossWeights(left=0.0, image=0.5, right=4.0)


@dataclass(frozen=True)
class EmojiMixture:
    """What a batch is made of."""

    drawn_rows: int = 16
    """Rows from text to image."""
    named_rows: int = 16
    """Rows from image to text."""
    unprompted_rows: int = 1
    text_rows: int = 2
    white_share: float = 0.25
    """Share of pictures on white among drawn rows; half of the named rows are on white."""
    alias_share: float = 0.3
    weak_share: float = 0.3
    """Share of slightly moved pictures among drawn rows."""
    settle_at: float = 0.75
    """Fraction of the steps after which drawn rows show the unmoved picture only."""
    draw_weights: LossWeights = DRAW_WEIGHTS
    name_weights: LossWeights = NAME_WEIGHTS


@dataclass(frozen=True)
class EmojiCodes:
    """Codes of every training picture, encoded once."""

    pairs: list[tuple[int, int]]
    plain: Tensor
    """int16, shape = (pairs, cells): the picture itself."""
    weak: Tensor
    """The same pairs, slightly moved."""
    strong_white: Tensor
    """int16, shape = (emoji, views, cells): strongly moved on white."""
    strong_coloured: Tensor
    """int16, shape = (coloured pairs, views, cells), in the order of the coloured among `pairs`."""


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
            "strong_white": _encode(emoji, tokenizer, white, side, STRONG, stream="white").unflatten(
                0, (-1, views_white)
            ),
            "strong_coloured": _encode(emoji, tokenizer, coloured, side, STRONG, stream="coloured").unflatten(
                0, (-1, views_coloured)
            ),
        }
        save_state(path, saved)
    return EmojiCodes(pairs, **cast(dict[str, Tensor], saved))


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


class EmojiRows:
    """Batches of the demo, a function of (seed, step)."""

    def __init__(
        self,
        emoji: EmojiSet,
        codes: EmojiCodes,
        builder: RowBuilder,
        mixture: EmojiMixture,
        *,
        total_steps: int,
        seed: int,
    ) -> None:
        self._emoji, self._codes, self._builder = emoji, codes, builder
        self._mixture, self._total, self._seed = mixture, total_steps, seed
        self._white = [place for place, pair in enumerate(codes.pairs) if not pair[1]]
        self._coloured = [place for place, pair in enumerate(codes.pairs) if pair[1]]

    def __call__(self, step: int) -> list[Rows]:
        random = step_generator(self._seed, step, "rows")
        mixture = self._mixture
        rows = [self._drawn(step, random), self._named(random)]
        if mixture.unprompted_rows:
            picks = _choose(self._codes.pairs, mixture.unprompted_rows, random)
            rows.append(self._builder.unprompted(self._codes.plain[picks].long(), mixture.draw_weights))
        if mixture.text_rows:
            texts = [
                self._prompt(place, random) for place in _choose(self._codes.pairs, mixture.text_rows, random)
            ]
            rows.append(self._builder.text_to_text(texts, LossWeights(1.0, 0.0, 0.0)))
        return rows

    def _drawn(self, step: int, random: Generator) -> Rows:
        mixture = self._mixture
        count = mixture.drawn_rows
        on_white = torch.rand(count, generator=random) < mixture.white_share
        white = _choose(self._white, count, random)
        coloured = _choose(self._coloured, count, random)
        places = [self._white[white[i]] if on_white[i] else self._coloured[coloured[i]] for i in range(count)]
        settled = step >= mixture.settle_at * self._total
        moved = (torch.rand(count, generator=random) < mixture.weak_share) & (not settled)
        codes = torch.where(moved[:, None], self._codes.weak[places], self._codes.plain[places])
        texts = [self._prompt(place, random) for place in places]
        return self._builder.text_to_image(texts, codes.long(), mixture.draw_weights)

    def _named(self, random: Generator) -> Rows:
        count = self._mixture.named_rows
        num_white = count // 2
        codes: list[Tensor] = []
        texts: list[str] = []
        views = self._codes.strong_white.shape[1]
        for place in _choose(self._white, num_white, random):
            index = self._codes.pairs[self._white[place]][0]
            codes.append(self._codes.strong_white[index, _below(views, random)])
            texts.append(self._emoji.emoji[index].name)
        views = self._codes.strong_coloured.shape[1]
        for place in _choose(self._coloured, count - num_white, random):
            index, ground = self._codes.pairs[self._coloured[place]]
            codes.append(self._codes.strong_coloured[place, _below(views, random)])
            texts.append(phrase(self._emoji.emoji[index].name, BACKGROUNDS[ground]))
        return self._builder.image_to_text(texts, torch.stack(codes).long(), self._mixture.name_weights)

    def _prompt(self, place: int, random: Generator) -> str:
        """The emoji's name or an alias, with the background's words in one of their spellings."""
        index, ground = self._codes.pairs[place]
        name, background = self._emoji.emoji[index].name, BACKGROUNDS[ground]
        aliases = ALIASES.get(name, ())
        if aliases and float(torch.rand(1, generator=random)) < self._mixture.alias_share:
            name = aliases[_below(len(aliases), random)]
        if background.spellings and float(torch.rand(1, generator=random)) < self._mixture.alias_share:
            return f"{name} {background.spellings[_below(len(background.spellings), random)]}"
        return phrase(name, background)


def _choose(items: Sequence[object], count: int, random: Generator) -> list[int]:
    return torch.randint(len(items), (count,), generator=random).tolist()


def _below(limit: int, random: Generator) -> int:
    return int(torch.randint(limit, (1,), generator=random))
