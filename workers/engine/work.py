"""Work items of the engine, their results, and the events before them.

Plain data on ids and bytes. The planner knows what a sequence means.
"""

from dataclasses import dataclass

from torch import Tensor

from model.backends.batches import ScoredSequence
from model.images import ImageError, ImageFormat
from model.network.layout import Segment
from model.tasks import Ids, TextSlice


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: temperature, then top_k, top_p and min_p, in this order.

    top_k 0 keeps all and 1 is greedy; top_p 1.0 keeps all; min_p 0.0 keeps all, else tokens below min_p times
    the largest probability are dropped.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float = 0.0


@dataclass(frozen=True)
class Generate:
    """Continue one prompt once for every seed.

    `target` says where tokens are drawn. IMAGE: after the whole left text; RIGHT_TEXT: after left text, image
    and the ids of `right`; LEFT_TEXT: after the (unpadded) ids of `left`.
    """

    target: Segment
    left: Ids
    seeds: tuple[int, ...]
    """Seed of each candidate."""
    sampling: Sampling
    image: Ids = ()
    right: Ids = ()
    known_codes: tuple[int | None, ...] = ()
    """IMAGE: the known code of each of the W² cells, None where one is drawn. Empty: all are drawn."""
    guidance: float = 0.0
    """IMAGE: share of the unconditional probabilities, 0 … 1."""
    uncond_left: Ids = ()
    max_tokens: int | None = None
    """Texts: positions of the target region to fill at most, the prompt's included."""
    text_slice: TextSlice | None = None
    """Texts: which ids may be drawn."""
    partial_images: int = 0
    """IMAGE: partial images to send of each of the first `partial_candidates`."""
    partial_candidates: int = 0
    partial_format: ImageFormat = "png"
    stream_tokens: bool = False
    """Texts: send the tokens so far every few steps."""


@dataclass(frozen=True)
class Generated:
    """Ids of the target region of each candidate, in the order of the seeds.

    Images: W² codes. Texts: the prompt's ids, then the drawn ones up to the first eos, eos included.
    """

    candidates: tuple[Ids, ...]
    num_drawn: int
    """Tokens drawn for all candidates together."""


@dataclass(frozen=True)
class Score:
    """Perplexities of sequences; only what is asked is computed.

    All sequences have the same parts. Left text is scored over its positions 1 … L−1, the image over its
    positions 1 … W²−1, right text over its positions from 1 to its true length.
    """

    sequences: tuple[ScoredSequence, ...]
    left: bool = False
    image: bool = False
    right: bool = False


@dataclass(frozen=True)
class Scored:
    """ppl of the asked parts, float64 on the CPU, shape = (sequences,); None for the others."""

    ppl_left: Tensor | None
    ppl_image: Tensor | None
    ppl_right: Tensor | None


@dataclass(frozen=True)
class EncodeImages:
    """Image files to W² codes each; `mask` marks the cells of the first one that are drawn again."""

    files: tuple[bytes, ...]
    mask: bytes | None = None


@dataclass(frozen=True)
class EncodedImages:
    """Codes of each file, or its error; the same for the W² flags of the mask."""

    codes: tuple[Ids | ImageError, ...]
    redrawn: tuple[bool, ...] | ImageError | None = None


@dataclass(frozen=True)
class DecodeImages:
    """W² codes each to image files."""

    codes: tuple[Ids, ...]
    image_format: ImageFormat


@dataclass(frozen=True)
class DecodedImages:
    files: tuple[bytes, ...]


Work = Generate | Score | EncodeImages | DecodeImages
WorkResult = Generated | Scored | EncodedImages | DecodedImages


@dataclass(frozen=True)
class WorkDone:
    """The owner's work item is finished."""

    owner: str
    result: WorkResult


@dataclass(frozen=True)
class WorkFailed:
    """The owner's work item failed; others are not affected."""

    owner: str
    error: Exception


@dataclass(frozen=True)
class WorkProgress:
    """`done` of `total` units: rows of cells of all images, finished texts, scored sequences."""

    owner: str
    work: Work
    done: int
    total: int


@dataclass(frozen=True)
class PartialImageFile:
    """The finished rows of a candidate as an image file, the rest grey. `partial_index` counts from 0."""

    owner: str
    candidate: int
    partial_index: int
    data: bytes


@dataclass(frozen=True)
class PartialTokens:
    """Ids of a candidate's text so far, with the first `num_prompt`, which are those of the prompt."""

    owner: str
    candidate: int
    ids: Ids
    num_prompt: int


EngineEvent = WorkDone | WorkFailed | WorkProgress | PartialImageFile | PartialTokens
