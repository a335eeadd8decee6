"""The HTTP side of a task: `TaskRoute`, and the parts that the replies of all tasks share."""

import base64
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field

from app.bodies import MultipartForm
from app.errors import ApiError, FieldError
from app.fields import Schema
from app.reply_fields import Created, JobId, ReadTokens
from app.uploads import Upload
from jobs.contract.codec import digest
from jobs.contract.requests import Request, Sampling, Task
from jobs.contract.status import Timings
from jobs.contract.worker_info import ModelInfo

IMAGE_FORM = MultipartForm(files={"image": ("image",)})
Files = Sequence[bytes]
"""The uploads of a request, decoded once and known to be images."""


def _is_absent(value: float | None) -> bool:
    """NaN is the perplexity of a text without tokens."""
    return value is None or math.isnan(value)


Scored = Annotated[float | None, Field(exclude_if=_is_absent)]
"""A number of a result that may not have been scored."""


class Reply(BaseModel):
    """Base of all replies. Its fields are read from the attributes of the queue's types."""

    model_config = ConfigDict(from_attributes=True)


class UsageReply(Reply):
    """Tokens that the job read and generated."""

    input_tokens: ReadTokens
    output_tokens: int = Field(
        description="Tokens that it generated for all candidates, image codes included."
    )

    @computed_field
    @property
    def total_tokens(self) -> int:
        """Tokens that were read and generated, together."""
        return self.input_tokens + self.output_tokens


class TimingsReply(Reply):
    """How long the job waited and ran."""

    queue_ms: float = Field(description="From acceptance until a worker started, in milliseconds.")
    compute_ms: float = Field(description="From there until the result, in milliseconds.")
    total_ms: float = Field(description="Both together, in milliseconds.")


class WarningReply(Reply):
    """Something of the request that did not have the effect that its sender may expect."""

    code: str = Field(description="Stable, for programs: text_cut, text_ignored, no_effect …")
    message: str = Field(description="What was not used, and what to do.")
    param: str = Field(description="JSON path of the field.")


class TaskReply(Reply):
    """Fields of every task's reply."""

    # Fields of a task are named as in its result type.

    id: JobId
    model: str | None = Field(description="Name and revision of the checkpoint: name@revision.")
    created: Created
    usage: UsageReply
    warnings: list[WarningReply] = Field(
        [], description="What of the request the model could not use; usually empty."
    )
    timings: TimingsReply


B = TypeVar("B", bound=Schema)


class TaskRoute(ABC, Generic[B]):
    """A task with its route. Subclasses are stateless; `app.tasks.TASKS` has one instance of each."""

    task: Task
    path: str
    summary: str
    body: type[B]
    reply: type[TaskReply]
    example: ClassVar[dict[str, Any]]
    """A body for the OpenAPI document that any checkpoint accepts."""
    form: MultipartForm | None = None
    """The fields of a multipart body; None: the route accepts JSON only."""
    image_types: tuple[str, ...] = ()
    """Media types that `Accept` can select instead of JSON."""
    unsupported_hint: str = ""
    """Added to the error for a checkpoint that cannot do the task."""

    def uploads(self, body: B) -> list[Upload]:
        """Return the images of the body, which are decoded before `build`; by default, its `image`."""
        image = getattr(body, "image", None)
        return [] if image is None else [Upload(image, "image")]

    def check(self, body: B, model: ModelInfo) -> None:
        """Raise FieldError for a body that the loaded model cannot serve."""

    @abstractmethod
    def build(self, body: B, images: Files, seed: int, model: ModelInfo) -> Request:
        """Return the job's request. `images` are the files of `uploads`, in that order.

        Lengths in tokens are not checked here: only the worker has the tokenizer.
        """

    @abstractmethod
    def cost(self, body: B) -> int:
        """Return the number of candidates."""

    def rows(self, body: B) -> int:
        """Return the number of sequences that the job runs, which the key's quota of candidates pays for."""
        return self.cost(body)

    def require(self, model: ModelInfo) -> None:
        """Raise ApiError 409 when the loaded checkpoint cannot do the task."""
        if self.task not in model.tasks:
            tasks = ", ".join(sorted(model.tasks))
            message = f"The loaded checkpoint {model.name} cannot do {self.task}. It can do: {tasks}."
            raise ApiError(409, "unsupported_task", message + self.unsupported_hint)


@dataclass(frozen=True)
class TaskInput:
    """A task with its validated body."""

    route: TaskRoute[Any]
    body: Schema

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the task and the body as the client sent it. Equal requests have equal digests.

        The seed and the model's defaults are not part of it: they may differ when a client repeats a request.
        """
        return digest(msgspec.msgpack.encode((str(self.route.task), self.body.model_dump())))

    @property
    def seed(self) -> int | None:
        return getattr(self.body, "seed", None)

    @property
    def streams(self) -> bool:
        return bool(getattr(self.body, "stream", False))


def durations_ms(timings: Timings) -> dict[str, float | None]:
    """Return queue_ms, compute_ms and total_ms by the clock of Redis; None until the event has happened."""
    created_s, started_s, finished_s = timings.created_s, timings.started_s, timings.finished_s
    return {
        "queue_ms": _ms(created_s, started_s),
        "compute_ms": _ms(started_s, finished_s),
        "total_ms": _ms(created_s, finished_s),
    }


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


Base64 = Annotated[str, BeforeValidator(base64_text)]


def default_sampling(task: Task, model: ModelInfo) -> Sampling:
    """Return the model's sampling settings for a task that samples."""
    defaults = model.sampling_of(task)
    assert defaults is not None
    return defaults


def check_max_tokens(max_tokens: int | None, length: int, side: str) -> None:
    """Raise FieldError for more tokens than the model's text region has. `side`: left or right."""
    if max_tokens is not None and max_tokens > length:
        predicate = f"must be at most {length}, the model's {side} text region; got {max_tokens}."
        raise FieldError("max_tokens", predicate, code="invalid_max_tokens")


def _ms(begin_s: float | None, end_s: float | None) -> float | None:
    return None if begin_s is None or end_s is None else round(max(end_s - begin_s, 0.0) * 1000, 3)
