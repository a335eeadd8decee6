"""Replies of the queue to its clients."""

from dataclasses import dataclass, field

from jobs.contract.requests import Task
from jobs.contract.status import JobStatus
from jobs.contract.worker_info import WorkerInfo


@dataclass(frozen=True)
class Submission:
    """An accepted job. `created` is False when the idempotency key already had this job."""

    id: str
    created: bool


@dataclass(frozen=True)
class Pause:
    """An operator has paused the queue: jobs are accepted, and no worker claims one."""

    since_s: float
    """Seconds since 1970 by the clock of Redis."""
    reason: str


@dataclass(frozen=True)
class QueueStats:
    """The queue at one moment. `input_bytes` counts queued and running jobs only."""

    waiting: int
    running: int
    dead: int
    input_bytes: int
    mean_service_s: float
    """Moving mean of the time between two results of one busy worker."""
    workers_live: int
    parked: int = 0
    """Queued jobs of another model than the workers have. `waiting` does not count them."""
    unreadable: int = 0
    """Records of jobs that no script could read and all passed over, since the queue was made."""
    totals: dict[str, int] = field(default_factory=dict[str, int])
    """Jobs that reached each terminal state since the queue was made, by the name of the state."""
    pause: Pause | None = None

    def start_in_s(self, position: int) -> float | None:
        """Return about when a job with `position` jobs ahead of it starts, in seconds; None if unknown.

        It is unknown while no worker is live, while the queue is paused, and before the first result.
        """
        if not self.workers_live or not self.mean_service_s or self.pause is not None:
            return None
        return (position + 1) * self.mean_service_s / self.workers_live


@dataclass(frozen=True)
class Signals:
    """What shows whether the queue makes progress."""

    oldest_waiting_s: float
    oldest_unfinished_s: float
    """Age of the oldest job that waits or runs; 0 if there is none."""
    sequences_waiting: int
    """Sequences of all jobs that wait."""
    waiting_by_tenant: dict[str, int]
    worker_starts: dict[str, int]
    """Number of processes so far, by slot: the host and the index of the worker on it."""
    worker_ends: dict[tuple[str, str], int]
    """Number of processes that ended unasked, by slot and reason."""
    requeued: dict[str, int]
    """Jobs that went back to the queue, by reason: released, lease_lost, crashed, retried."""


@dataclass(frozen=True)
class LiveWorker:
    """A worker whose heartbeat is fresh."""

    info: WorkerInfo
    jobs: int
    """Jobs that it holds."""
    drains: bool
    """It finishes what it runs, and ends."""


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter and its reason. Times are seconds since 1970 by the clock of Redis."""

    id: str
    tenant: str
    task: str
    reason: str
    message: str
    attempts: int
    dead_since_s: float


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list or a bulk operation takes. None: any."""

    task: Task | None = None
    tenant: str | None = None
    older_than_s: float | None = None
    """Least age since the acceptance, in seconds."""

    @property
    def is_open(self) -> bool:
        """Whether every job passes."""
        return self == ANY_JOB

    def takes(self, job: JobStatus, now_s: float) -> bool:
        """Return whether a job passes. `now_s`: the clock of Redis."""
        return (
            self.task in (None, job.task)
            and self.tenant in (None, job.tenant)
            and (self.older_than_s is None or now_s - job.timings.created_s >= self.older_than_s)
        )


ANY_JOB = JobFilter()
