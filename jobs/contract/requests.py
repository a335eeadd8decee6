"""The tasks, and their requests to the model: one type for each task."""

from enum import StrEnum

import msgspec


class Task(StrEnum):
    """The kind of a job. The values are the names of the HTTP routes."""

    TEXT2IMAGE = "text2image"
    IMAGE2TEXT = "image2text"
    TEXT2TEXT = "text2text"
    RANK_IMAGES = "rank_images"
    RANK_TEXTS = "rank_texts"
    CLASSIFY = "classify"
    ANSWER = "answer"


class Sampling(msgspec.Struct, frozen=True, omit_defaults=False):
    """Sampling settings, applied in this order. top_k 0, top_p 1.0 and min_p 0.0 keep all tokens.

    top_k 1 is greedy. min_p drops tokens below min_p times the largest probability.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float = 0.0


IMAGE_SAMPLING = Sampling(temperature=1.0, top_k=768, top_p=0.99)
TEXT_SAMPLING = Sampling(temperature=0.9, top_k=64, top_p=0.8)


class Borders(msgspec.Struct, frozen=True):
    """Rows and columns of known image codes, counted from each side."""

    up: int = 0
    down: int = 0
    left: int = 0
    right: int = 0


class ImagePrompt(msgspec.Struct, frozen=True):
    """An image of which a part is kept: its borders, what a mask does not mark, or a share.

    Exactly one of the three is set.
    """

    image: bytes
    borders: Borders | None = None
    mask: bytes | None = None
    """A PNG. An image code whose cell holds a pixel with alpha 0 is drawn again."""
    keep_share: float | None = None
    """Above 0, below 1. Where the image has transparency, that is its mask. Else this share of the cells is
    kept, spread evenly."""


class Codes(msgspec.Struct, frozen=True):
    """An image given as its image codes, row by row."""

    codes: tuple[int, ...]


RankedImage = bytes | Codes


class Text2ImageRequest(msgspec.Struct, frozen=True, tag="text2image"):
    """Draw `candidates` images. If these are more than `n`, rank them and return the best n."""

    prompt: str
    seed: int
    n: int = 1
    candidates: int = 1
    sampling: Sampling = IMAGE_SAMPLING
    guidance: float = 0.0
    """Weight of the unconditional sequence in the mixed probabilities, 0 to 1; 0 runs no such sequence."""
    image_prompt: ImagePrompt | None = None
    format: str = "png"
    return_codes: bool = False
    rerank: bool = False
    """Score and order the images even when n == candidates."""
    partial_images: int = 0
    """Number of partial images to publish as events while drawing: finished rows, the rest grey."""


class Image2TextRequest(msgspec.Struct, frozen=True, tag="image2text"):
    """Caption an image: `candidates` texts, duplicates merged; with rerank, ordered by score ÷ count."""

    image: bytes
    seed: int
    n: int = 1
    candidates: int = 1
    template: str = ""
    max_tokens: int | None = None
    """Maximum number of tokens to generate after the template; None: as many as the region has room for."""
    sampling: Sampling = TEXT_SAMPLING
    rerank: bool = False
    return_tokens: bool = False
    stop: tuple[str, ...] = ()
    """The generated text ends before the first of these."""
    merge: bool = True
    """False: n texts, equal ones too; in the order of the candidates where these are n."""


class Text2TextRequest(msgspec.Struct, frozen=True, tag="text2text"):
    """Continue a text `candidates` times, merge duplicates, and return the n with the lowest ppl_text."""

    prompt: str
    seed: int
    n: int = 1
    candidates: int = 1
    max_tokens: int | None = None
    """Maximum number of tokens to generate after the prompt; None: as many as the region has room for."""
    sampling: Sampling = TEXT_SAMPLING
    stop: tuple[str, ...] = ()
    """The generated text ends before the first of these."""
    merge: bool = True
    """False: n texts, equal ones too; in the order of the candidates where these are n."""


class RankImagesRequest(msgspec.Struct, frozen=True, tag="rank_images"):
    text: str
    images: tuple[RankedImage, ...]


class RankTextsRequest(msgspec.Struct, frozen=True, tag="rank_texts"):
    image: bytes
    texts: tuple[str, ...]


class ClassifyRequest(msgspec.Struct, frozen=True, tag="classify"):
    """`template` holds one `{}` for the class name; so may `left_template`."""

    image: bytes
    classes: tuple[str, ...]
    template: str = "{}"
    left_template: str = ""


class AnswerRequest(msgspec.Struct, frozen=True, tag="answer"):
    question: str
    seed: int
    image: bytes | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling(temperature=1.0, top_k=1, top_p=1.0)
    stop: tuple[str, ...] = ()


Request = (
    Text2ImageRequest
    | Image2TextRequest
    | Text2TextRequest
    | RankImagesRequest
    | RankTextsRequest
    | ClassifyRequest
    | AnswerRequest
)


def task_of(request: Request) -> Task:
    """Return the task of a request. The request's tag in the wire format is the task's name."""
    return Task(type(request).__struct_config__.tag)
