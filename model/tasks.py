"""Prompts and formulas of every task, for both generations of the model.

Knows the positions of ids in the sequence, and how perplexities become scores. Knows no engine, no cache and
no images: its inputs are ids and cross-entropies. Sources: the `rudolph` packages 0.0.1rc8 (generation 1) and
0.0.1rc10 (generation 2); for question answering, the fine-tuning code of the FBC2 checkpoint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.config import BOS_ID, EOS_ID, PAD_ID, ModelConfig, TaskToken

Ids = tuple[int, ...]

IMAGE_RANKING_TEXT_WEIGHT = 0.95
"""Weight of ppl_text in the combined score of images ranked by a text."""
TEXT_RANKING_TEXT_WEIGHT = 0.05
"""Weight of ppl_text in the combined score of texts ranked by an image."""
_PLASTIC = 1.32471795724474602596
_R2 = (1 / _PLASTIC, 1 / _PLASTIC**2)
MAX_CROSS_ENTROPY = 700.0
"""Cross-entropies are clamped to this, so that their exponential is a finite float64."""


class TextEncoder(Protocol):
    """The part of the text tokenizer that prompts need."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def unknown_letters(self, text: str) -> str: ...


@dataclass(frozen=True)
class TextFit:
    """How a text is read in a region of the sequence."""

    num_tokens: int
    room: int
    """Tokens that the region has for a text."""
    unknown_letters: str
    """Letters without a token, each once. The model reads `<UNK>` for them."""

    @property
    def is_cut(self) -> bool:
        return self.num_tokens > self.room


class Prompts:
    """Builds the ids of every task. The caller refuses a text whose encoding is empty."""

    def __init__(self, config: ModelConfig, tokenizer: TextEncoder) -> None:
        self._config = config
        self._tokenizer = tokenizer

    def encodes_to_nothing(self, text: str) -> bool:
        """Return whether a text has no tokens, for example a text of blanks."""
        return not self._tokenizer.encode(text)

    def left_fit(self, text: str, *, is_open: bool = False) -> TextFit:
        """Return how a left text is read. `is_open`: it is continued, as in `text2text_left`."""
        return self._fit(text, self._config.left_text_length, is_open=is_open)

    def right_fit(self, text: str, *, is_open: bool = False) -> TextFit:
        """Return how a right text is read. `is_open`: it is continued, as in `image2text_right`."""
        return self._fit(text, self._config.right_text_length, is_open=is_open)

    def text2image_left(self, prompt: str) -> Ids:
        """Left text (L ids) from which an image is drawn."""
        return self._left(prompt, TaskToken.LT_T2I)

    def uncond_left(self) -> Ids:
        """Left text (L ids) of the unconditional sequence that guidance mixes in."""
        return self._empty_left(TaskToken.LT_UNK)

    def image2text_left(self, template: str = "") -> Ids:
        """Left text (L ids) before a given image; `template` is empty except for some classifications."""
        if self._tokenizer.encode(template):
            return self._left(template, TaskToken.LT_I2T)
        return self._empty_left(TaskToken.LT_I2T)

    def image2text_right(self, template: str = "") -> Ids:
        """Right-text ids that a caption continues: no eos, unpadded, at least bos."""
        return self._open(template, self._config.right_text_length, TaskToken.RT_I2T)

    def scored_right(self, text: str) -> Ids:
        """Right text whose ppl_text is computed: at most R ids, unpadded."""
        return self._wrap(text, self._config.right_text_length, TaskToken.RT_I2T)

    def text_ranking_left(self, text: str) -> Ids:
        """Left text (L ids) that is ranked by the image after it."""
        return self._left(text, TaskToken.LT_T2I)

    def text2text_left(self, prompt: str) -> Ids:
        """Left-text ids that are continued: no eos, unpadded, at least bos."""
        return self._open(prompt, self._config.left_text_length, TaskToken.LT_T2T)

    def scored_text2text(self, text: str) -> Ids:
        """Left text whose ppl_text is computed: at most L ids, unpadded."""
        return self._wrap(text, self._config.left_text_length, TaskToken.LT_T2T)

    def answer_left(self, question: str, *, with_image: bool) -> Ids:
        """Left text (L ids) with the question."""
        return self._left(question, self._answer_tokens(with_image)[0])

    def answer_right(self, *, with_image: bool) -> Ids:
        """Right-text ids that an answer continues."""
        return self._open("", self._config.right_text_length, self._answer_tokens(with_image)[1])

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids up to the first eos, without task and pad tokens, stripped."""
        return self._decode(ids).strip()

    def split_text(self, ids: Sequence[int], num_prompt: int) -> tuple[str, str]:
        """Return the text of the first `num_prompt` ids, and the text after it, up to the first eos.

        The prompt's text is that of its tokens, which the client may have spelt otherwise. Nothing is
        stripped: a continuation that begins a new word begins with a space.
        """
        prompt = self._decode(ids[:num_prompt])
        return prompt, self._decode(ids)[len(prompt) :]

    def _decode(self, ids: Sequence[int]) -> str:
        size = self._config.bpe_vocab_size
        return self._tokenizer.decode([id_ for id_ in cut_at_eos(ids) if id_ < size])

    def _fit(self, text: str, length: int, *, is_open: bool) -> TextFit:
        # Bos and the task token come before the text. `_open` drops the last id of a full region.
        num_others = 1 + (self._config.generation != 1) + is_open
        num_tokens = len(self._tokenizer.encode(text))
        return TextFit(num_tokens, length - num_others, self._tokenizer.unknown_letters(text))

    def _answer_tokens(self, with_image: bool) -> tuple[TaskToken, TaskToken]:
        # Checkpoints with fewer task tokens have one pair for all questions.
        if with_image and self._config.text_special_tokens > TaskToken.RT_VQA:
            return TaskToken.LT_VQA, TaskToken.RT_VQA
        return TaskToken.LT_TQA, TaskToken.RT_TQA

    def _wrap(self, text: str, length: int, token: TaskToken) -> Ids:
        task = [] if self._config.generation == 1 else [self._config.task_token(token)]
        return (BOS_ID, *task, *self._tokenizer.encode(text), EOS_ID)[:length]

    def _open(self, text: str, length: int, token: TaskToken) -> Ids:
        # The reference drops the last id after the cut, even if the cut removed eos.
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
    """The text ids that a generated token may have, and those that mean eos."""

    width: int
    """Ids 0 to width − 1 are sampled."""
    eos_from: int
    """A sampled id of this value or above becomes eos."""


def caption_slice(config: ModelConfig) -> TextSlice:
    """Slice of generated right text. Generation 1 samples the pads too, generation 2 does not."""
    return TextSlice(scored_text_width(config), config.bpe_vocab_size)


def text2text_slice(config: ModelConfig) -> TextSlice:
    """Slice of generated left text: all text ids. The reference accepts the id after the BPE ids too."""
    return TextSlice(config.text_vocab_size, config.bpe_vocab_size + 1)


def scored_text_width(config: ModelConfig) -> int:
    """Number of text ids in the softmax of ppl_text: all (generation 1), all but the L pads (2)."""
    pads = config.left_text_length if config.generation == 2 else 0
    return config.text_vocab_size - pads


def cut_at_eos(ids: Sequence[int]) -> list[int]:
    """Return the ids before the first eos. (rc8 cuts at the number of eos tokens, which is a bug.)"""
    ids = list(ids)
    return ids[: ids.index(EOS_ID)] if EOS_ID in ids else ids


@dataclass(frozen=True)
class MergedText:
    """A text that `count` candidates have; `first` is the index of the first one."""

    text: str
    count: int
    first: int


def merge_texts(texts: Iterable[str]) -> list[MergedText]:
    """Merge equal texts and count them, in the order of their first appearance. Empty texts are dropped.

    If all texts are empty, the result is one empty text, because an empty caption is not an error.
    """
    firsts: dict[str, int] = {}
    counts: dict[str, int] = {}
    for index, text in enumerate(texts):
        firsts.setdefault(text, index)
        counts[text] = counts.get(text, 0) + 1
    merged = [MergedText(text, count, firsts[text]) for text, count in counts.items() if text]
    return merged or [MergedText("", counts[""], firsts[""])]


def perplexity(cross_entropy: Tensor) -> Tensor:
    """Perplexity of rows: mean of exp(cross-entropy) over the positions whose cross-entropy is not zero.

    cross_entropy: shape = (rows, positions); zero where padded. Returns float64, shape = (rows,).
    A row without such a position has perplexity 1. As in the reference, this is the mean of exponentials and
    not the exponential of the mean.
    """
    counted = cross_entropy != 0
    exponentials = cross_entropy.double().clamp(max=MAX_CROSS_ENTROPY).exp() * counted
    counts = counted.sum(dim=1)
    return torch.where(counts > 0, exponentials.sum(dim=1) / counts.clamp(min=1), 1.0)


def combined_scores(ppl_text: Tensor, ppl_image: Tensor, text_weight: float) -> Tensor:
    """Scores of candidates, lower is better: both perplexities in units of (median − min), weighted.

    ppl_text, ppl_image: shape = (candidates,). If the median equals the min, the unit is max − min. If all
    values are equal, they add nothing, so a single candidate scores 0.
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
    """Return which of the W² cells, row by row, an image prompt with these borders (in cells) keeps."""
    last = config.image_width - 1
    return [
        row < up or row > last - down or column < left or column > last - right
        for row in range(config.image_width)
        for column in range(config.image_width)
    ]


def spread_cells(config: ModelConfig, share: float) -> list[bool]:
    """Return which of the W² cells, row by row, are kept when `share` of them is, spread evenly.

    The order of the cells is that of an additive recurrence in two dimensions (the R2 sequence of M. Roberts,
    "The unreasonable effectiveness of quasirandom sequences"). At least one cell is drawn.
    """
    width = config.image_width
    places = [(row * _R2[0] + column * _R2[1]) % 1.0 for row in range(width) for column in range(width)]
    order = sorted(range(len(places)), key=places.__getitem__)
    kept = set(order[: min(round(share * len(order)), len(order) - 1)])
    return [cell in kept for cell in range(len(order))]
