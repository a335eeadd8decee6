"""A job as the queue sees it now."""

import msgspec

from jobs.events import Progress
from jobs.job import JobState, Task
from jobs.results import JobFailure


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
