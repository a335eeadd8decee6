"""What the queue answers to the two sides: small frozen values, no bytes of Redis in them."""

from dataclasses import dataclass, field
from enum import StrEnum

from jobs.job import Job


@dataclass(frozen=True)
class Submission:
    """The job now known to the queue. `created` is False when the idempotency key had one already."""

    id: str
    created: bool


@dataclass(frozen=True)
class QueueStats:
    """The queue at one moment; `input_bytes` counts queued and running jobs only."""

    waiting: int
    running: int
    dead: int
    input_bytes: int
    mean_service_s: float
    """Moving mean of the time between two results of one busy worker."""
    workers_live: int
    totals: dict[str, int] = field(default_factory=dict[str, int])
    """Jobs that ever reached each terminal state, by the name of the state."""


@dataclass(frozen=True)
class DeadLetter:
    """A job that was given up, and why. Times are seconds by the clock of Redis."""

    id: str
    tenant: str
    task: str
    reason: str
    message: str
    attempts: int
    dead_since_s: float


@dataclass(frozen=True)
class ClaimedJob:
    """A job that this worker now holds under `attempt`, until its lease runs out or it is committed."""

    job: Job
    attempt: int
    solo: bool
    """Its last batch crashed. It comes alone: finish what runs, then run it by itself, then claim again."""
    queued_s: float
    """Seconds from acceptance to this claim."""
    deadline_left_s: float | None
    """Seconds until the job expires, at the time of the claim."""


@dataclass(frozen=True)
class RenewReply:
    """Jobs that must leave the batch at the next step."""

    lost: frozenset[str]
    """Held by another worker now, or gone: their results would be refused."""
    cancelled: frozenset[str]
    """Cancelled or past their deadline; already in their terminal state."""


class CommitReply(StrEnum):
    ACCEPTED = "accepted"
    FENCED = "fenced"
    """Another attempt owns the job, or it is in a terminal state with another result. Drop this one."""
