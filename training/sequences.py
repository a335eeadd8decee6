"""Builds sequences of ids from texts and codes, for every task and both generations of the model.

The layouts are those of the served tasks: the ids come from `model.tasks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.config import EOS_ID, PAD_ID, ModelConfig, TaskToken
from model.tasks import Prompts
from model.text_tokenizer import TextTokenizer


@dataclass(frozen=True)
class LossWeights:
    """Weights of the mean cross-entropies of left text, image and right text."""

    left: float = 1.0
    image: float = 7.0
    right: float = 1.0


@dataclass(frozen=True)
class Smoothing:
    """Label smoothing (Szegedy et al., arXiv 1512.00567).

    Without it a small network is too certain. Perplexities of wrong texts then span many powers of ten, and
    those of images depend on their least likely cell. Rankings add both, scaled by their spreads.
    """

    image: float = 0.0
    right: float = 0.0


@dataclass(frozen=True)
class Rows:
    """Sequences of one direction."""

    left: Tensor
    """int64, shape = (rows, L), padded with 0."""
    codes: Tensor | None
    """int64, shape = (rows, W²); None for sequences of left text only."""
    right: Tensor | None
    """int64, shape = (rows, ≤ R), padded with 0; None without right text."""
    weights: LossWeights
    kind: str
    """Name of the direction, under which its losses are shown."""
    smoothing: Smoothing = Smoothing()
    shown: Tensor | None = None
    """Inputs instead of the codes, some of them wrong; None for the codes. Without wrong inputs a network
    memorises a small data set from earlier codes and ignores the text."""
    places: tuple[str, ...] = ()
    """Where each sequence comes from, for messages; empty if unknown."""

    def input_ids(self) -> Tensor:
        """Return the inputs of the network, shape = (rows, length)."""
        codes = self.codes if self.shown is None else self.shown
        return torch.cat([part for part in (self.left, codes, self.right) if part is not None], dim=1)

    def take(self, chosen: slice) -> "Rows":
        """Return some of the sequences."""
        return replace(
            self,
            left=self.left[chosen],
            codes=None if self.codes is None else self.codes[chosen],
            right=None if self.right is None else self.right[chosen],
            shown=None if self.shown is None else self.shown[chosen],
            places=self.places[chosen],
        )

    def pieces(self, count: int) -> "list[Rows]":
        """Split into at most `count` pieces of nearly one size."""
        size = -(-len(self.left) // count)
        return [self.take(slice(first, first + size)) for first in range(0, len(self.left), max(1, size))]


class RowBuilder:
    """Builds the sequences of a model."""

    def __init__(self, config: ModelConfig, tokenizer: TextTokenizer) -> None:
        self._config, self._tokenizer = config, tokenizer
        self._prompts = Prompts(config, tokenizer)

    def text_to_image(self, texts: Sequence[str], codes: Tensor, weights: LossWeights) -> Rows:
        """Return sequences that draw an image from a text."""
        left = torch.tensor([self._prompts.text2image_left(text) for text in texts])
        return Rows(left, codes, None, weights, "draw")

    def unconditional(self, codes: Tensor, weights: LossWeights) -> Rows:
        """Return unconditional sequences, which guidance needs."""
        left = torch.tensor([self._prompts.uncond_left()] * len(codes))
        return Rows(left, codes, None, weights, "unprompted")

    def image_to_text(self, texts: Sequence[str], codes: Tensor, weights: LossWeights) -> Rows:
        """Return sequences that caption an image."""
        left = torch.tensor([self._prompts.image2text_left()] * len(texts))
        right = [self._prompts.scored_right(text) for text in texts]
        return Rows(left, codes, _to_longest(right), weights, "name")

    def text_to_text(self, texts: Sequence[str], weights: LossWeights) -> Rows:
        """Return sequences of left text only."""
        length = self._config.left_text_length
        left = [self._prompts.scored_text2text(text) for text in texts]
        return Rows(_pad(left, length), None, None, weights, "text")

    def answer(
        self, questions: Sequence[str], answers: Sequence[str], codes: Tensor | None, weights: LossWeights
    ) -> Rows:
        """Return sequences that answer questions, about images or, without `codes`, about nothing else.

        Without images the codes are zeros, as in the served task, and are not trained. Raises ValueError for
        a model without task tokens of questions.
        """
        check_answers(self._config)
        with_image = codes is not None
        left = [self._prompts.answer_left(question, with_image=with_image) for question in questions]
        opened = self._prompts.answer_right(with_image=with_image)
        longest = self._config.right_text_length
        right = [(*opened, *self._tokenizer.encode(answer), EOS_ID)[:longest] for answer in answers]
        if codes is None:
            codes = torch.zeros(len(questions), self._config.image_length, dtype=torch.long)
            weights = replace(weights, image=0.0)
        kind = "answer" if with_image else "answer_text"
        return Rows(torch.tensor(left), codes, _to_longest(right), weights, kind)


def check_answers(config: ModelConfig) -> None:
    """Raise ValueError if the model has too few task tokens for questions."""
    if config.generation == 2 and config.text_special_tokens <= TaskToken.RT_TQA:
        raise ValueError(
            f"The model has {config.text_special_tokens} task tokens; questions need {TaskToken.RT_TQA + 1}. "
            "Start from another checkpoint."
        )


def _to_longest(rows: Sequence[Sequence[int]]) -> Tensor:
    """Pad to the longest row: the right text is the end of a sequence."""
    return _pad(rows, max(map(len, rows), default=0))


def _pad(rows: Sequence[Sequence[int]], length: int) -> Tensor:
    return torch.tensor([[*row, *[PAD_ID] * (length - len(row))] for row in rows])
