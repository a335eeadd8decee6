"""The status of a job."""

import msgspec

from jobs.contract.events import Progress
from jobs.contract.job import JobState
from jobs.contract.requests import Task
from jobs.contract.results import JobFailure


class Timings(msgspec.Struct, frozen=True):
    """Seconds since 1970 by the clock of Redis; None until it happened."""

    created_s: float
    started_s: float | None = None
    finished_s: float | None = None


class JobStatus(msgspec.Struct, frozen=True):
    """A job as the queue sees it now, without its input and its result."""

    id: str
    task: Task
    state: JobState
    tenant: str
    attempt: int
    timings: Timings
    priority: int = 0
    position: int | None = None
    """Number of jobs ahead of it while it is queued."""
    progress: Progress | None = None
    failure: JobFailure | None = None
    worker: str | None = None
    model: str | None = None
    cancel_requested: bool = False
