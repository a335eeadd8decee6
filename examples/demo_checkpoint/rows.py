"""Training sequences of the demo: codes of emoji with prompts and captions.

Chooses the share of each kind. Codes come from `examples/demo_checkpoint/codes.py`, layouts from
`training/sequences.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from examples.demo_checkpoint.codes import EmojiCodes
from examples.demo_checkpoint.images import EmojiSet
from examples.demo_checkpoint.names import ALIASES, BACKGROUNDS, phrase
from training.sequences import LossWeights, RowBuilder, Rows, Smoothing
from training.state import step_generator

DRAW_WEIGHTS = LossWeights(left=1.0, image=7.0, right=0.0)
NAME_WEIGHTS = LossWeights(left=0.0, image=1.0, right=4.0)
NAME_SMOOTHING = Smoothing(image=0.3, right=0.35)
Pair = tuple[int, int]
"""Indices of an emoji and of a background."""
Encode = Callable[[Sequence[Pair], Generator], Tensor]
"""Encodes new, strongly moved images of pairs; codes are int64, shape = (pairs, cells)."""


@dataclass(frozen=True)
class EmojiMixture:
    """Numbers of each kind in a batch."""

    drawn_rows: int = 16
    """From text to image, with composed codes."""
    moved_rows: int = 3
    """From text to image, with moved images, because their likelihood scores captions."""
    named_rows: int = 18
    """From image to text, with moved images."""
    named_composed_rows: int = 3
    """From image to text, with composed codes, because the likelihood of the text scores drawn images."""
    unprompted_rows: int = 1
    text_rows: int = 1
    drawn_white_share: float = 0.3
    named_white_share: float = 0.6
    alias_share: float = 0.3
    clean_share: float = 0.4
    """Share of text-to-image sequences whose input codes are all right. In each of the others, a random share
    of the input codes is wrong."""
    draw_weights: LossWeights = DRAW_WEIGHTS
    name_weights: LossWeights = NAME_WEIGHTS
    name_smoothing: Smoothing = NAME_SMOOTHING


class EmojiRows:
    """Batches of the demo; a batch is a function of (seed, step)."""

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
            rows.append(build.unconditional(self._codes.composed(picks), mixture.draw_weights))
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
        """Replace some codes by those of other emoji in the same cell."""
        shares = torch.rand(len(codes), 1, generator=random)
        shares[torch.rand(len(codes), 1, generator=random) < self._mixture.clean_share] = 0.0
        wrong = torch.rand(codes.shape, generator=random) < shares
        others = torch.randint(len(self._codes.white), codes.shape, generator=random)
        return torch.where(wrong, self._codes.white.gather(0, others), codes)

    def _caption(self, pair: Pair) -> str:
        return phrase(self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]])

    def _prompt(self, pair: Pair, random: Generator) -> str:
        """Return the name of the emoji or an alias, with a spelling of the background."""
        name, background = self._emoji.emoji[pair[0]].name, BACKGROUNDS[pair[1]]
        aliases = ALIASES.get(name, ())
        if aliases and float(torch.rand(1, generator=random)) < self._mixture.alias_share:
            name = aliases[_below(len(aliases), random)]
        if background.spellings and float(torch.rand(1, generator=random)) < self._mixture.alias_share:
            return f"{name} {background.spellings[_below(len(background.spellings), random)]}"
        return phrase(name, background)


def _below(limit: int, random: Generator) -> int:
    return int(torch.randint(limit, (1,), generator=random))
