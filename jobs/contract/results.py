"""Outcomes of jobs: one result type for each kind of answer, or a failure."""

from typing import Literal

import msgspec

from jobs.contract.probabilities import class_probabilities, probabilities

FinishReason = Literal["stop", "length"]
"""stop: the model ended the text, or a stop sequence was found. length: the text was cut."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens that the model read and generated for a job."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_image_tokens: int = 0
    """Number of input tokens that are image codes."""


class ResultWarning(msgspec.Struct, frozen=True):
    """Something about the request that made the result worse. Programs read `code`, people read `message`."""

    code: str
    message: str
    param: str
    """Path of the field in the body of the task's route."""


Warnings = tuple[ResultWarning, ...]


class GeneratedImage(msgspec.Struct, frozen=True):
    data: bytes
    """The bytes of the image file."""
    seed: int
    score: float | None = None
    """Combined score, lower is better."""
    ppl_text: float | None = None
    ppl_image: float | None = None
    codes: tuple[int, ...] | None = None


class GeneratedText(msgspec.Struct, frozen=True):
    text: str
    count: int
    score: float | None = None
    ppl_text: float | None = None
    ppl_image: float | None = None
    tokens: tuple[int, ...] | None = None
    """Right-text ids from BOS to the first EOS, both included."""
    continuation: str | None = None
    """The part of `text` after the tokens of the prompt; None where there is no prompt."""
    num_tokens: int = 0
    """Generated tokens of this text, EOS included."""
    finish_reason: FinishReason = "stop"


class RankedItem(msgspec.Struct, frozen=True):
    index: int
    """Index in the request, from 0."""
    score: float
    ppl_text: float
    ppl_image: float


class ClassScore(msgspec.Struct, frozen=True):
    class_name: str
    score: float
    """softmax(ppl_text ÷ its Euclidean norm), as in the reference; lower is better."""
    ppl_text: float


class ImagesResult(msgspec.Struct, frozen=True, tag="images"):
    images: tuple[GeneratedImage, ...]
    usage: Usage = Usage()
    warnings: Warnings = ()


class TextsResult(msgspec.Struct, frozen=True, tag="texts"):
    texts: tuple[GeneratedText, ...]
    usage: Usage = Usage()
    warnings: Warnings = ()


class RankingResult(msgspec.Struct, frozen=True, tag="ranking"):
    ranking: tuple[RankedItem, ...]
    """Best first."""
    usage: Usage = Usage()
    warnings: Warnings = ()
    temperature: float = 1.0
    """Of the probabilities, calibrated with the checkpoint; 1: not calibrated."""

    def probabilities(self) -> list[float]:
        """Return the probability of each item, best first; they add up to 1."""
        return probabilities([item.score for item in self.ranking], self.temperature)


class ClassifyResult(msgspec.Struct, frozen=True, tag="classes"):
    label: int
    """Index of the winning class in the request, from 0."""
    scores: tuple[ClassScore, ...]
    """In the order of the request."""
    usage: Usage = Usage()
    warnings: Warnings = ()
    temperature: float = 1.0
    """Of the probabilities, calibrated with the checkpoint; 1: not calibrated."""

    def probabilities(self) -> list[float]:
        """Return the probability of each class, in the order of the request; they add up to 1."""
        return class_probabilities([score.ppl_text for score in self.scores], self.temperature)


class AnswerResult(msgspec.Struct, frozen=True, tag="answer"):
    answer: str
    usage: Usage = Usage()
    warnings: Warnings = ()
    num_tokens: int = 0
    finish_reason: FinishReason = "stop"


class JobFailure(msgspec.Struct, frozen=True, tag="failure"):
    """The reason that a job has no result. Programs read `code`, which is stable; people read `message`."""

    code: str
    message: str
    param: str | None = None


Result = ImagesResult | TextsResult | RankingResult | ClassifyResult | AnswerResult
Outcome = Result | JobFailure
