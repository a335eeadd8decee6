"""Texts and codes to rows of ids, for both directions and both generations of the model.

Knows which ids stand where in training; the layouts are those that the tasks are served with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import BOS_ID, EOS_ID, PAD_ID, ModelConfig, TaskToken
from model.text_tokenizer import TextTokenizer


@dataclass(frozen=True)
class LossWeights:
    """Weights of the mean cross-entropies over left text, image and right text."""

    left: float = 1.0
    image: float = 7.0
    right: float = 1.0


@dataclass(frozen=True)
class Smoothing:
    """Label smoothing (Szegedy et al., arXiv 1512.00567).

    Without it a small network is so sure that the perplexities of wrong texts span many powers of ten, and
    those of pictures hang on their one strangest cell; rankings add the two up by their spreads.
    """

    image: float = 0.0
    right: float = 0.0


@dataclass(frozen=True)
class Rows:
    """Rows of one direction."""

    left: Tensor
    """int64, shape = (rows, L), padded with 0."""
    codes: Tensor | None
    """int64, shape = (rows, W²); None for left text alone."""
    right: Tensor | None
    """int64, shape = (rows, ≤ R), padded with 0; None where there is no right text."""
    weights: LossWeights
    kind: str
    """What the rows teach; the losses are shown under this name."""
    smoothing: Smoothing = Smoothing()
    shown: Tensor | None = None
    """What the network reads in place of the codes, some of them wrong; None: the codes themselves. Without
    wrong ones a small set is learnt by heart from the codes before, and hardly from the text."""

    def input_ids(self) -> Tensor:
        """What the network reads, shape = (rows, length)."""
        return self._joined(self.codes if self.shown is None else self.shown)

    def target_ids(self) -> Tensor:
        """What it shall say, shape = (rows, length)."""
        return self._joined(self.codes)

    def _joined(self, codes: Tensor | None) -> Tensor:
        return torch.cat([part for part in (self.left, codes, self.right) if part is not None], dim=1)


class RowBuilder:
    """Wraps texts for a model."""

    def __init__(self, config: ModelConfig, tokenizer: TextTokenizer) -> None:
        self._config, self._tokenizer = config, tokenizer

    def text_to_image(self, texts: Sequence[str], codes: Tensor, weights: LossWeights) -> Rows:
        """Rows that draw a picture from a text."""
        return Rows(self._left(texts, TaskToken.LT_T2I), codes, None, weights, "draw")

    def unprompted(self, codes: Tensor, weights: LossWeights) -> Rows:
        """Rows that draw a picture from nothing, which guidance mixes in."""
        return Rows(self._empty(len(codes), TaskToken.LT_UNK), codes, None, weights, "unprompted")

    def image_to_text(self, texts: Sequence[str], codes: Tensor, weights: LossWeights) -> Rows:
        """Rows that name a picture."""
        longest = self._config.right_text_length
        right = [self._wrap(text, TaskToken.RT_I2T)[:longest] for text in texts]
        # Cut at the longest text of the batch: nothing stands after the right text.
        padded = _pad(right, max(map(len, right)))
        return Rows(self._empty(len(texts), TaskToken.LT_I2T), codes, padded, weights, "name")

    def text_to_text(self, texts: Sequence[str], weights: LossWeights) -> Rows:
        """Rows of left text alone."""
        return Rows(self._left(texts, TaskToken.LT_T2T), None, None, weights, "text")

    def _wrap(self, text: str, token: TaskToken) -> list[int]:
        task = [] if self._config.generation == 1 else [self._config.task_token(token)]
        return [BOS_ID, *task, *self._tokenizer.encode(text), EOS_ID]

    def _left(self, texts: Sequence[str], token: TaskToken) -> Tensor:
        length = self._config.left_text_length
        return _pad([self._wrap(text, token)[:length] for text in texts], length)

    def _empty(self, count: int, token: TaskToken) -> Tensor:
        if self._config.generation == 1:
            return torch.zeros(count, self._config.left_text_length, dtype=torch.long)
        return self._left([""] * count, token)


def _pad(rows: Sequence[Sequence[int]], length: int) -> Tensor:
    return torch.tensor([[*row, *[PAD_ID] * (length - len(row))] for row in rows])
