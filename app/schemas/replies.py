"""What the native routes answer, for the OpenAPI document. Replies themselves are plain data, see
`app.replies`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Score = Annotated[float | None, Field(description="Combined score; lower is better.")]
Perplexity = Annotated[float | None, Field(description="Perplexity; lower is better.")]


class UsageReply(BaseModel):
    input_tokens: int = Field(description="Tokens that the network read.")
    output_tokens: int = Field(description="Tokens that it wrote, image codes included.")
    total_tokens: int


class TimingsReply(BaseModel):
    queue_ms: float = Field(description="From acceptance until a worker began, in milliseconds.")
    compute_ms: float = Field(description="From there until the result, in milliseconds.")
    total_ms: float = Field(description="Both together, in milliseconds.")


class TaskReply(BaseModel):
    id: str = Field(description="The job behind the request; /v1/jobs/{id} knows it for a while.")
    model: str | None
    created: int = Field(description="When it was accepted, in seconds since 1970.")
    usage: UsageReply
    timings: TimingsReply


class ImageItem(BaseModel):
    b64_json: str = Field(description="The picture's file as base64.")
    seed: int = Field(description="Draws this picture again, alone: send it with n = 1.")
    score: Score = None
    ppl_text: Perplexity = None
    ppl_image: Perplexity = None
    codes: list[int] | None = Field(None, description="Image codes, row by row.")


class ImagesReply(TaskReply):
    images: list[ImageItem] = Field(description="Best first when scored, else in the order of candidates.")


class TextItem(BaseModel):
    text: str
    count: int = Field(description="How many candidates said the same.")
    score: Score = None
    ppl_text: Perplexity = None
    ppl_image: Perplexity = None
    tokens: list[int] | None = Field(None, description="Token ids from bos on, cut behind the first eos.")


class TextsReply(TaskReply):
    texts: list[TextItem]
    seed: int | None = Field(None, description="The seed that was used.")


class RankedItemReply(BaseModel):
    index: int = Field(description="Place in the request, from 0.")
    score: float = Field(description="Combined score; lower is better.")
    ppl_text: float
    ppl_image: float


class RankingReply(TaskReply):
    ranking: list[RankedItemReply] = Field(description="Every item, best first.")


class ClassScoreReply(BaseModel):
    class_name: str = Field(alias="class")
    score: float = Field(description="Lower is better.")
    ppl_text: float


class ClassifyReply(TaskReply):
    class_name: str = Field(alias="class", description="The winning class.")
    label: int = Field(description="Its place in `classes`, from 0.")
    scores: list[ClassScoreReply] = Field(description="Every class, in the order of the request.")


class AnswerReply(TaskReply):
    answer: str


class ErrorBody(BaseModel):
    message: str = Field(description="What is wrong and what to do.")
    type: str
    param: str | None = Field(description="JSON path of the field at fault.")
    code: str | None = Field(description="Stable, for programs.")


class ErrorReply(BaseModel):
    error: ErrorBody


class LiveReply(BaseModel):
    status: Literal["ok"]


class ReadyReply(BaseModel):
    status: Literal["ready"]
    checks: dict[str, str] = Field(description="redis, workers, api: ok, or what is wrong.")


class NotReadyReply(BaseModel):
    status: Literal["not_ready"]
    checks: dict[str, str]
    error: ErrorBody


class ProgressReply(BaseModel):
    phase: str
    done: int
    total: int


class JobReply(BaseModel):
    id: str
    task: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled", "expired", "dead"]
    created: int
    attempt: int = Field(description="How many workers began it.")
    priority: int
    position: int | None = Field(description="Jobs ahead of it while queued, from 0.")
    progress: ProgressReply | None
    cancel_requested: bool
    model: str | None
    timings: dict[str, float | None]
    error: ErrorBody | None
    result: dict[str, Any] | None = Field(description="What the task's own route would have answered.")
