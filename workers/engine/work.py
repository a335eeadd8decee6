"""What the engine is asked for and what it answers: work items, their results, and events on the way.

Plain data on ids and bytes. Knows no tasks: what a sequence means is the planner's.
"""

from dataclasses import dataclass

from torch import Tensor

from model.images import PictureError, PictureFormat
from model.layout import Segment
from model.tasks import Ids, TextSlice


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; top_k 0 keeps all, 1 is greedy; top_p 1.0 keeps all."""

    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True)
class Generate:
    """Continue one prompt once for every seed.

    `target` says where tokens are drawn. IMAGE: after the whole left text; RIGHT_TEXT: after left text, image
    and the ids of `right`; LEFT_TEXT: after the (unpadded) ids of `left`.
    """

    target: Segment
    left: Ids
    seeds: tuple[int, ...]
    """Row seed of each candidate."""
    sampling: Sampling
    image: Ids = ()
    right: Ids = ()
    kept: tuple[int | None, ...] = ()
    """IMAGE: the code that stands in each of the W² cells, None where one is drawn. Empty: all are drawn."""
    guidance: float = 0.0
    """IMAGE: share of the unprompted row's probabilities, 0 … 1."""
    unprompted_left: Ids = ()
    max_tokens: int | None = None
    """Texts: positions of the target region to fill at most, the prompt's included."""
    text_slice: TextSlice | None = None
    """Texts: which ids may be drawn."""
    partial_pictures: int = 0
    """IMAGE: how many times to send the finished rows of a picture, for the first `partial_candidates`."""
    partial_candidates: int = 0
    partial_format: PictureFormat = "png"
    stream_tokens: bool = False
    """Texts: send the tokens so far every few steps."""


@dataclass(frozen=True)
class Generated:
    """Ids of the target region of each candidate, in the order of the seeds.

    Pictures: W² codes. Texts: the prompt's ids, then the drawn ones up to the first eos, eos included.
    """

    candidates: tuple[Ids, ...]
    num_drawn: int
    """Tokens drawn for all candidates together."""


@dataclass(frozen=True)
class ScoredSequence:
    """One sequence to score. `left` has L ids; `image` is empty or has W² codes; `right` is unpadded."""

    left: Ids
    image: Ids = ()
    right: Ids = ()


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
class EncodePictures:
    """Picture files to W² codes each; `mask` says which cells of the first one are to be drawn anew."""

    files: tuple[bytes, ...]
    mask: bytes | None = None


@dataclass(frozen=True)
class EncodedPictures:
    """Codes of each file, or why it cannot be read; likewise the W² flags of the mask."""

    codes: tuple[Ids | PictureError, ...]
    redrawn: tuple[bool, ...] | PictureError | None = None


@dataclass(frozen=True)
class DecodePictures:
    """W² codes each to picture files."""

    codes: tuple[Ids, ...]
    picture_format: PictureFormat


@dataclass(frozen=True)
class DecodedPictures:
    files: tuple[bytes, ...]


Work = Generate | Score | EncodePictures | DecodePictures
WorkResult = Generated | Scored | EncodedPictures | DecodedPictures


@dataclass(frozen=True)
class WorkDone:
    """The owner's work item is finished."""

    owner: str
    result: WorkResult


@dataclass(frozen=True)
class WorkFailed:
    """The owner's work item cannot be finished; nobody else's is touched."""

    owner: str
    error: Exception


@dataclass(frozen=True)
class WorkProgress:
    """`done` of `total` units: rows of all pictures, finished texts, scored sequences."""

    owner: str
    work: Work
    done: int
    total: int


@dataclass(frozen=True)
class PartialPicture:
    """Finished rows of a candidate as a picture file, the rest grey. `partial_index` counts from 0."""

    owner: str
    candidate: int
    partial_index: int
    data: bytes


@dataclass(frozen=True)
class PartialTokens:
    """Ids of a candidate's text so far, the prompt's included."""

    owner: str
    candidate: int
    ids: Ids


EngineEvent = WorkDone | WorkFailed | WorkProgress | PartialPicture | PartialTokens
