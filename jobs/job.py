"""A job as the API submits it, and the states it passes through.

Everything here and in the modules beside it (requests, results, events, status, announcements) is plain
data; the codec turns it into bytes. Pictures are raw file bytes (PNG, JPEG, WebP), never base64.
"""

from enum import StrEnum

import msgspec

from jobs.requests import Request


class Task(StrEnum):
    """What a job asks for; the values are the names of the HTTP routes."""

    TEXT2IMAGE = "text2image"
    IMAGE2TEXT = "image2text"
    TEXT2TEXT = "text2text"
    RANK_IMAGES = "rank_images"
    RANK_TEXTS = "rank_texts"
    CLASSIFY = "classify"
    ANSWER = "answer"


def task_of(request: Request) -> Task:
    """What a request asks for; its tag in the wire format is the task's name."""
    return Task(type(request).__struct_config__.tag)


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
    trace: str | None = None
    """W3C traceparent of the request's span, for the worker's to join. Decides nothing; in no digest."""
