"""What a job comes to: one result type for each kind of answer, or a failure."""

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens that the network read and wrote for a job."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_image_tokens: int = 0
    """How many of the input tokens are codes of pictures."""


class GeneratedImage(msgspec.Struct, frozen=True):
    data: bytes
    """The encoded picture file."""
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
    """Right-text ids from bos on, cut behind the first eos."""


class RankedItem(msgspec.Struct, frozen=True):
    index: int
    """Place in the request, from 0."""
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


class TextsResult(msgspec.Struct, frozen=True, tag="texts"):
    texts: tuple[GeneratedText, ...]
    usage: Usage = Usage()


class RankingResult(msgspec.Struct, frozen=True, tag="ranking"):
    ranking: tuple[RankedItem, ...]
    """Best first."""
    usage: Usage = Usage()


class ClassifyResult(msgspec.Struct, frozen=True, tag="classes"):
    label: int
    """Place of the winning class in the request, from 0."""
    scores: tuple[ClassScore, ...]
    """In the order of the request."""
    usage: Usage = Usage()


class AnswerResult(msgspec.Struct, frozen=True, tag="answer"):
    answer: str
    usage: Usage = Usage()


class JobFailure(msgspec.Struct, frozen=True, tag="failure"):
    """Why a job has no result. `code` is stable and lower-case; `message` is for a person."""

    code: str
    message: str
    param: str | None = None


Result = ImagesResult | TextsResult | RankingResult | ClassifyResult | AnswerResult
Outcome = Result | JobFailure
