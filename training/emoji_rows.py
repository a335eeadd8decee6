"""The demo's training rows: emoji as codes, with prompts and captions around them.

Knows how often each kind of row comes; the codes come from `emoji_codes`, the layouts from `sequences`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from training.emoji_codes import EmojiCodes
from training.emoji_names import ALIASES, BACKGROUNDS, phrase
from training.emoji_pictures import EmojiSet
from training.sequences import LossWeights, RowBuilder, Rows, Smoothing
from training.state import step_generator

DRAW_WEIGHTS = LossWeights(left=1.0, image=7.0, right=0.0)
NAME_WEIGHTS = LossWeights(left=0.0, image=1.0, right=4.0)
NAME_SMOOTHING = Smoothing(image=0.3, right=0.35)
Pair = tuple[int, int]
"""Places of an emoji and of a background."""
Encode = Callable[[Sequence[Pair], Generator], Tensor]
"""Codes of fresh, strongly moved pictures of pairs, int64, shape = (pairs, cells)."""


@dataclass(frozen=True)
class EmojiMixture:
    """What a batch is made of."""

    drawn_rows: int = 16
    """Rows from text to image, of composed codes."""
    moved_rows: int = 3
    """Rows from text to image, of moved pictures: a caption is judged by how likely they are."""
    named_rows: int = 18
    """Rows from image to text, of moved pictures."""
    named_composed_rows: int = 3
    """Rows from image to text, of composed codes: a drawn picture is judged by how likely its text is."""
    unprompted_rows: int = 1
    text_rows: int = 1
    drawn_white_share: float = 0.3
    named_white_share: float = 0.6
    alias_share: float = 0.3
    clean_share: float = 0.4
    """Share of rows to be drawn whose codes are read as they are; of each of the others a share, between none
    and all, is read wrong."""
    draw_weights: LossWeights = DRAW_WEIGHTS
    name_weights: LossWeights = NAME_WEIGHTS
    name_smoothing: Smoothing = NAME_SMOOTHING


class EmojiRows:
    """Batches of the demo, a function of (seed, step)."""

    def __init__(
        self,
        emoji: EmojiSet,
        codes: EmojiCodes,
        encode: Encode,
        builder: RowBuilder,
        mixture: EmojiMixture,
        *,
        seed: int,
    ) -> None:
        self._emoji, self._codes, self._encode, self._builder = emoji, codes, encode, builder
        self._mixture, self._seed = mixture, seed
        pairs = emoji.training_pairs()
        self._white = [pair for pair in pairs if not pair[1]]
        self._coloured = [pair for pair in pairs if pair[1]]

    def __call__(self, step: int) -> list[Rows]:
        random = step_generator(self._seed, step, "rows")
        mixture, build = self._mixture, self._builder
        drawn = self._choose(mixture.drawn_rows, mixture.drawn_white_share, random)
        moved = self._choose(mixture.moved_rows, mixture.drawn_white_share, random)
        named = self._choose(mixture.named_rows, mixture.named_white_share, random)
        composed = self._choose(mixture.named_composed_rows, mixture.named_white_share, random)
        views = self._encode([*moved, *named], random)
        named_rows = build.image_to_text(
            [self._caption(pair) for pair in [*named, *composed]],
            torch.cat([views[len(moved) :], self._codes.composed(composed)]),
            mixture.name_weights,
        )
        drawn_codes = torch.cat([self._codes.composed(drawn), views[: len(moved)]])
        rows = [
            self._drawn([*drawn, *moved], drawn_codes, random),
            replace(named_rows, smoothing=mixture.name_smoothing),
        ]
        if mixture.unprompted_rows:
            picks = self._choose(mixture.unprompted_rows, mixture.drawn_white_share, random)
            rows.append(build.unprompted(self._codes.composed(picks), mixture.draw_weights))
        if mixture.text_rows:
            picks = self._choose(mixture.text_rows, mixture.drawn_white_share, random)
            texts = [self._prompt(pair, random) for pair in picks]
            rows.append(build.text_to_text(texts, LossWeights(1.0, 0.0, 0.0)))
        return rows

    def _choose(self, count: int, white_share: float, random: Generator) -> list[Pair]:
        on_white = torch.rand(count, generator=random) < white_share
        pools = [self._white if white else self._coloured for white in on_white.tolist()]
        return [pool[_below(len(pool), random)] for pool in pools]

    def _drawn(self, pairs: Sequence[Pair], codes: Tensor, random: Generator) -> Rows:
        texts = [self._prompt(pair, random) for pair in pairs]
        rows = self._builder.text_to_image(texts, codes, self._mixture.draw_weights)
        return replace(rows, shown=self._with_wrong_codes(codes, random))

    def _with_wrong_codes(self, codes: Tensor, random: Generator) -> Tensor:
        """Some codes replaced by those that other emoji have in the same cell."""
        shares = torch.rand(len(codes), 1, generator=random)
        shares[torch.rand(len(codes), 1, generator=random) < self._mixture.clean_share] = 0.0
        wrong = torch.rand(codes.shape, generator=random) < shares
        others = torch.randint(len(self._codes.white), codes.shape, generator=random)
        return torch.where(wrong, self._codes.white.gather(0, others), codes)

    def _caption(self, pair: Pair) -> str:
        return phrase(self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]])

    def _prompt(self, pair: Pair, random: Generator) -> str:
        """The emoji's name or an alias, with the background's words in one of their spellings."""
        name, background = self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]]
        aliases = ALIASES.get(name, ())
        if aliases and float(torch.rand(1, generator=random)) < self._mixture.alias_share:
            name = aliases[_below(len(aliases), random)]
        if background.spellings and float(torch.rand(1, generator=random)) < self._mixture.alias_share:
            return f"{name} {background.spellings[_below(len(background.spellings), random)]}"
        return phrase(name, background)


def _below(limit: int, random: Generator) -> int:
    return int(torch.randint(limit, (1,), generator=random))
