"""What crosses the two process boundaries: jobs, requests, results, events, and what a worker says of itself.

One request type and one result type a task. Everything here is plain data; the codec turns it into bytes.
Pictures are raw file bytes (PNG, JPEG, WebP), never base64. Times are seconds by the clock of Redis.
"""

from enum import StrEnum

import msgspec


class Task(StrEnum):
    """What a job asks for; the values are the names of the HTTP routes."""

    TEXT2IMAGE = "text2image"
    IMAGE2TEXT = "image2text"
    TEXT2TEXT = "text2text"
    RANK_IMAGES = "rank_images"
    RANK_TEXTS = "rank_texts"
    CLASSIFY = "classify"
    ANSWER = "answer"


class JobState(StrEnum):
    """Life of a job: queued → running → one of the terminal states (a lost lease sends it back to queued)."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"

    @property
    def is_terminal(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Sampling(msgspec.Struct, frozen=True, omit_defaults=False):
    """How the next token is drawn. top_k 0 keeps all, top_p 1.0 keeps all, top_k 1 is greedy."""

    temperature: float
    top_k: int
    top_p: float


IMAGE_SAMPLING = Sampling(temperature=1.0, top_k=768, top_p=0.99)
TEXT_SAMPLING = Sampling(temperature=0.9, top_k=64, top_p=0.8)


class Borders(msgspec.Struct, frozen=True):
    """Rows and columns of a picture that are kept, counted in cells (one code each) from each side."""

    up: int = 0
    down: int = 0
    left: int = 0
    right: int = 0


class ImagePrompt(msgspec.Struct, frozen=True):
    """A picture of which a part is kept: either the borders, or what a mask does not mark for redrawing."""

    image: bytes
    borders: Borders | None = None
    mask: bytes | None = None
    """PNG; a cell that holds a pixel with alpha 0 is drawn anew. Exactly one of borders and mask is set."""


class Codes(msgspec.Struct, frozen=True):
    """A picture given as its image codes, row by row."""

    codes: tuple[int, ...]


Picture = bytes | Codes


class Text2ImageRequest(msgspec.Struct, frozen=True, tag="text2image"):
    """Draw `candidates` pictures; if more than `n`, self-rerank them and return the best n."""

    prompt: str
    seed: int
    n: int = 1
    candidates: int = 1
    sampling: Sampling = IMAGE_SAMPLING
    guidance: float = 0.0
    """Weight of the unprompted row in the mixed probabilities, 0 … 1; 0 runs no second row."""
    image_prompt: ImagePrompt | None = None
    format: str = "png"
    return_codes: bool = False
    rerank: bool = False
    """Score and order the pictures even when n == candidates."""
    partial_images: int = 0
    """Partial pictures (finished rows, the rest grey) to publish as events while drawing."""


class Image2TextRequest(msgspec.Struct, frozen=True, tag="image2text"):
    """Caption a picture: `candidates` texts, duplicates merged; with rerank, ordered by score ÷ count."""

    image: bytes
    seed: int
    n: int = 1
    candidates: int = 1
    template: str = ""
    max_tokens: int | None = None
    """Right-text positions to fill at most, template and special tokens included; None: all of them."""
    sampling: Sampling = TEXT_SAMPLING
    rerank: bool = False
    return_tokens: bool = False


class Text2TextRequest(msgspec.Struct, frozen=True, tag="text2text"):
    """Continue a text `candidates` times; duplicates merged, the n with the lowest ppl_text returned."""

    prompt: str
    seed: int
    n: int = 1
    candidates: int = 1
    max_tokens: int | None = None
    sampling: Sampling = TEXT_SAMPLING


class RankImagesRequest(msgspec.Struct, frozen=True, tag="rank_images"):
    text: str
    images: tuple[Picture, ...]


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


Request = (
    Text2ImageRequest
    | Image2TextRequest
    | Text2TextRequest
    | RankImagesRequest
    | RankTextsRequest
    | ClassifyRequest
    | AnswerRequest
)


class Usage(msgspec.Struct, frozen=True):
    """Tokens that the network read and wrote for a job."""

    input_tokens: int = 0
    output_tokens: int = 0


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


class Job(msgspec.Struct, frozen=True):
    """What the API submits. Everything that decides the result is fixed here, so that a re-run repeats it."""

    id: str
    task: Task
    request: Request
    tenant: str = "default"
    priority: int = 0
    """−10 … 10; lower runs earlier."""
    deadline_s: float | None = None
    """Seconds from acceptance after which the job expires, queue time included."""
    idempotency_key: str | None = None
    synchronous: bool = True
    """The client waits on its connection; the API cancels the job when it leaves."""
    rows: int = 1
    """Sequences that the job will occupy, for fair shares and batch planning."""
    model_revision: str | None = None
    """Revision of the model that the API validated the request against."""
    digest: str | None = None
    """Digest of what the client sent, before seeds were drawn; idempotent retries are recognised by it.
    None: the digest of `request`."""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """`done` of `total` steps of the phase; rows of a picture while drawing."""

    phase: str
    done: int
    total: int


class PartialImage(msgspec.Struct, frozen=True, tag="partial_image"):
    """Finished rows of candidate `index` decoded, the rest grey."""

    index: int
    partial_index: int
    data: bytes


class PartialText(msgspec.Struct, frozen=True, tag="partial_text"):
    """Text of candidate `index` so far."""

    index: int
    text: str


class StateChanged(msgspec.Struct, frozen=True, tag="state"):
    state: JobState
    reason: str | None = None


EventBody = Progress | PartialImage | PartialText | StateChanged


class Event(msgspec.Struct, frozen=True):
    """Something a waiting client wants to know. `id` orders the events of all jobs (a stream id)."""

    id: str
    job_id: str
    attempt: int
    body: EventBody


class Timings(msgspec.Struct, frozen=True):
    """Seconds since the epoch by the clock of Redis; None until it happened."""

    created_s: float
    started_s: float | None = None
    finished_s: float | None = None


class JobStatus(msgspec.Struct, frozen=True):
    """A job as the queue sees it now."""

    id: str
    task: Task
    state: JobState
    tenant: str
    attempt: int
    timings: Timings
    priority: int = 0
    position: int | None = None
    """Jobs ahead of it while queued, from 0."""
    progress: Progress | None = None
    failure: JobFailure | None = None
    worker: str | None = None
    model: str | None = None
    cancel_requested: bool = False


class ModelInfo(msgspec.Struct, frozen=True):
    """The loaded model, as a worker announces it; the API validates requests against it."""

    name: str
    revision: str
    generation: int
    image_width: int
    """Cells along a side."""
    input_pixels: int
    """Side of the pictures that the encoder reads."""
    output_pixels: int
    """Side of the pictures that the decoder draws."""
    left_text_length: int
    right_text_length: int
    image_codebook_size: int
    tasks: tuple[Task, ...]
    device: str
    dtype: str


class WorkerInfo(msgspec.Struct, frozen=True):
    """Written by a worker with every heartbeat; gone (TTL) soon after the worker is."""

    id: str
    host: str
    pid: int
    model: ModelInfo
    slots: int
    draining: bool
    metrics: bytes = b""
    """Prometheus text exposition of the worker's own registry."""
