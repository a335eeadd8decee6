"""A job as the API submits it, and its states.

All modules of the contract hold plain data, which the codec turns into bytes. Images are the bytes of image
files (PNG, JPEG, WebP), never base64.
"""

from enum import StrEnum

import msgspec

from jobs.contract.requests import Request, Task


class JobState(StrEnum):
    """queued → running → one of the terminal states; a lost lease returns a job to queued."""

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
    """A request with everything that decides its result, so that a second run gives the same result."""

    id: str
    task: Task
    request: Request
    tenant: str = "default"
    priority: int = 0
    """−10 to 10; lower runs earlier."""
    deadline_s: float | None = None
    """Seconds from acceptance until the job expires, queue time included."""
    idempotency_key: str | None = None
    synchronous: bool = True
    """The client waits on its connection. The API cancels the job when the client disconnects."""
    num_sequences: int = msgspec.field(default=1, name="rows")
    """Number of sequences that the job runs at a time, for fair queueing and batch planning."""
    model_revision: str | None = None
    """Revision of the model that the API validated the request against."""
    digest: str | None = None
    """Digest of the client's request, before the model's defaults were filled in. Idempotent retries are
    recognised by it. None: the digest of `request`."""
    trace: str | None = None
    """W3C traceparent of the request's span, the parent of the worker's span. It affects no result."""
    request_id: str | None = None
    """Id of the HTTP request, for the log lines of the worker. It affects no result."""
