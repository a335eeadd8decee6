"""Prompts and formulas of every task, for both generations of the model.

Knows which ids stand where in the sequence and how perplexities become scores. Knows no engine, no cache and
no pictures: it deals in ids and in cross-entropies. Facts from the `rudolph` packages 0.0.1rc8 (generation 1)
and 0.0.1rc10 (generation 2), and for question answering from the fine-tuning code of the FBC2 checkpoint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.config import BOS_ID, EOS_ID, PAD_ID, ModelConfig, TaskToken

Ids = tuple[int, ...]

IMAGE_RANKING_TEXT_WEIGHT = 0.95
"""Share of ppl_text in the combined score of images ranked by a text."""
TEXT_RANKING_TEXT_WEIGHT = 0.05
"""Share of ppl_text in the combined score of texts ranked by an image."""
MAX_CROSS_ENTROPY = 700.0
"""Cross-entropies are cut here, so that their exponential stays a finite float64."""


class TextEncoder(Protocol):
    """The part of the text tokenizer that prompts need."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Prompts:
    """Builds the ids of every task. An empty encoding of a non-empty task text is the caller's to refuse."""

    def __init__(self, config: ModelConfig, tokenizer: TextEncoder) -> None:
        self._config = config
        self._tokenizer = tokenizer

    def encodes_to_nothing(self, text: str) -> bool:
        """True for a text of which no token is left, e.g. blanks."""
        return not self._tokenizer.encode(text)

    def text2image_left(self, prompt: str) -> Ids:
        """Left text (L ids) that a picture is drawn from."""
        return self._left(prompt, TaskToken.LT_T2I)

    def unprompted_left(self) -> Ids:
        """Left text (L ids) of the row without a prompt that guidance mixes in."""
        return self._empty_left(TaskToken.LT_UNK)

    def image2text_left(self, template: str = "") -> Ids:
        """Left text (L ids) before a given picture; `template` is empty but for some classifications."""
        if self._tokenizer.encode(template):
            return self._left(template, TaskToken.LT_I2T)
        return self._empty_left(TaskToken.LT_I2T)

    def image2text_right(self, template: str = "") -> Ids:
        """Right-text ids that a caption goes on from: no eos, unpadded, at least bos."""
        return self._open(template, self._config.right_text_length, TaskToken.RT_I2T)

    def scored_right(self, text: str) -> Ids:
        """Right text of which ppl_text is asked: at most R ids, unpadded."""
        return self._wrap(text, self._config.right_text_length, TaskToken.RT_I2T)

    def text_ranking_left(self, text: str) -> Ids:
        """Left text (L ids) that is ranked by a picture standing after it."""
        return self._left(text, TaskToken.LT_T2I)

    def text2text_left(self, prompt: str) -> Ids:
        """Left-text ids that a text goes on from: no eos, unpadded, at least bos."""
        return self._open(prompt, self._config.left_text_length, TaskToken.LT_T2T)

    def scored_text2text(self, text: str) -> Ids:
        """Left text of which ppl_text is asked: at most L ids, unpadded."""
        return self._wrap(text, self._config.left_text_length, TaskToken.LT_T2T)

    def answer_left(self, question: str, *, with_image: bool) -> Ids:
        """Left text (L ids) that holds the question."""
        return self._left(question, self._answer_tokens(with_image)[0])

    def answer_right(self, *, with_image: bool) -> Ids:
        """Right-text ids that an answer goes on from."""
        return self._open("", self._config.right_text_length, self._answer_tokens(with_image)[1])

    def text_of(self, ids: Sequence[int]) -> str:
        """Text of generated ids: cut at the first eos, task and pad tokens dropped, stripped."""
        size = self._config.bpe_vocab_size
        return self._tokenizer.decode([id_ for id_ in cut_at_eos(ids) if id_ < size]).strip()

    def _answer_tokens(self, with_image: bool) -> tuple[TaskToken, TaskToken]:
        # Checkpoints with a short list of task tokens know one pair for every question.
        if with_image and self._config.text_special_tokens > TaskToken.RT_VQA:
            return TaskToken.LT_VQA, TaskToken.RT_VQA
        return TaskToken.LT_TQA, TaskToken.RT_TQA

    def _wrap(self, text: str, length: int, token: TaskToken) -> Ids:
        task = [] if self._config.generation == 1 else [self._config.task_token(token)]
        return (BOS_ID, *task, *self._tokenizer.encode(text), EOS_ID)[:length]

    def _open(self, text: str, length: int, token: TaskToken) -> Ids:
        # The reference drops the last of the cut ids, also where the cut took eos away.
        return self._wrap(text, length, token)[:-1]

    def _left(self, text: str, token: TaskToken) -> Ids:
        length = self._config.left_text_length
        ids = self._wrap(text, length, token)
        return ids + (PAD_ID,) * (length - len(ids))

    def _empty_left(self, token: TaskToken) -> Ids:
        if self._config.generation == 1:
            return (PAD_ID,) * self._config.left_text_length
        return self._left("", token)


@dataclass(frozen=True)
class TextSlice:
    """Which text ids a generated token may be, and from which id on it means eos."""

    width: int
    """Ids from 0 that take part in sampling."""
    eos_from: int
    """A sampled id that is not below this one becomes eos."""


def caption_slice(config: ModelConfig) -> TextSlice:
    """Generated right text. Generation 1 samples over the pads too, generation 2 leaves them out."""
    return TextSlice(scored_text_width(config), config.bpe_vocab_size)


def text2text_slice(config: ModelConfig) -> TextSlice:
    """Generated left text: the whole slice. The reference lets the id just above the BPE ids through."""
    return TextSlice(config.text_vocab_size, config.bpe_vocab_size + 1)


def scored_text_width(config: ModelConfig) -> int:
    """Text ids in the denominator of ppl_text: all in generation 1, all but the L pads in generation 2."""
    pads = config.left_text_length if config.generation == 2 else 0
    return config.text_vocab_size - pads


def cut_at_eos(ids: Sequence[int]) -> list[int]:
    """Ids before the first eos. (rc8 cuts at the COUNT of eos tokens, which is a fault.)"""
    ids = list(ids)
    return ids[: ids.index(EOS_ID)] if EOS_ID in ids else ids


@dataclass(frozen=True)
class MergedText:
    """A text that `count` candidates arrived at; `first` is the first of them."""

    text: str
    count: int
    first: int


def merge_texts(texts: Iterable[str]) -> list[MergedText]:
    """Equal texts become one with a count, in the order of their first appearance; empty ones are dropped.

    If nothing else is there, one empty text stands for all: an empty caption is an answer, not an error.
    """
    firsts: dict[str, int] = {}
    counts: dict[str, int] = {}
    for index, text in enumerate(texts):
        firsts.setdefault(text, index)
        counts[text] = counts.get(text, 0) + 1
    merged = [MergedText(text, count, firsts[text]) for text, count in counts.items() if text]
    return merged or [MergedText("", counts[""], firsts[""])]


def perplexity(cross_entropy: Tensor) -> Tensor:
    """ppl of rows: mean of exp(cross-entropy) over the positions whose cross-entropy is not zero.

    cross_entropy: shape = (rows, positions); zero where padded. Returns float64, shape = (rows,).
    A row without such a position is certain of its text: 1. It is the mean of exponentials, as in the
    reference, not the exponential of the mean.
    """
    counted = cross_entropy != 0
    exponentials = cross_entropy.double().clamp(max=MAX_CROSS_ENTROPY).exp() * counted
    counts = counted.sum(dim=1)
    return torch.where(counts > 0, exponentials.sum(dim=1) / counts.clamp(min=1), 1.0)


def combined_scores(ppl_text: Tensor, ppl_image: Tensor, text_weight: float) -> Tensor:
    """Scores of candidates, lower is better: both perplexities in units of (median − min), weighted.

    ppl_text, ppl_image: shape = (candidates,). Where median and min coincide the unit is max − min; a list
    without any spread contributes nothing, so a single candidate scores 0.
    """
    return _spread(ppl_text) * text_weight + _spread(ppl_image) * (1.0 - text_weight)


def _spread(ppl: Tensor) -> Tensor:
    ppl = ppl.double()
    above = ppl - ppl.min()
    unit = torch.quantile(above, 0.5)
    unit = torch.where(unit > 0, unit, above.max())
    return above / torch.where(unit > 0, unit, 1.0)


def classification_scores(ppl_text: Tensor) -> Tensor:
    """softmax(ppl ÷ its Euclidean norm) over the classes, shape = (classes,); the lowest wins."""
    ppl_text = ppl_text.double()
    return (ppl_text / ppl_text.norm()).softmax(dim=0)


def kept_cells(config: ModelConfig, up: int, down: int, left: int, right: int) -> list[bool]:
    """Which of the W² cells, row by row, an image prompt with these borders (in cells) keeps."""
    last = config.image_width - 1
    return [
        row < up or row > last - down or column < left or column > last - right
        for row in range(config.image_width)
        for column in range(config.image_width)
    ]
