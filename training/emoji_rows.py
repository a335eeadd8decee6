"""The demo's training rows: emoji as codes, with prompts and captions around them.

Knows how often each kind of row comes; the codes come from `emoji_codes`, the layouts from `sequences`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from training.emoji_codes import EmojiCodes
from training.emoji_names import ALIASES, BACKGROUNDS, phrase
from training.emoji_pictures import EmojiSet
from training.sequences import LossWeights, RowBuilder, Rows
from training.state import step_generator

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
    weak_share: float = 0.15
    """Share of slightly moved pictures, as the encoder sees them, among drawn rows."""
    wrong_share: float = 0.5
    """Largest share of wrong codes among those that a drawn row reads; each row has a share of its own."""
    settle_at: float = 0.75
    """Fraction of the steps after which drawn rows show composed codes only."""
    draw_weights: LossWeights = DRAW_WEIGHTS
    name_weights: LossWeights = NAME_WEIGHTS


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
            rows.append(self._builder.unprompted(self._composed(picks), mixture.draw_weights))
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
        codes = torch.where(moved[:, None], self._codes.weak[places], self._composed(places))
        texts = [self._prompt(place, random) for place in places]
        rows = self._builder.text_to_image(texts, codes, mixture.draw_weights)
        return replace(rows, shown=self._with_wrong_codes(codes, random))

    def _with_wrong_codes(self, codes: Tensor, random: Generator) -> Tensor:
        """Some codes replaced by those that other emoji have in the same cell."""
        shares = torch.rand(len(codes), 1, generator=random) * self._mixture.wrong_share
        wrong = torch.rand(codes.shape, generator=random) < shares
        others = torch.randint(len(self._codes.white), codes.shape, generator=random)
        return torch.where(wrong, self._codes.white.gather(0, others), codes)

    def _composed(self, places: Sequence[int]) -> Tensor:
        return self._codes.composed([self._codes.pairs[place] for place in places])

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
