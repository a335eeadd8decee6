"""Replies of the queue to a worker."""

from dataclasses import dataclass
from enum import StrEnum

from jobs.contract.job import Job


@dataclass(frozen=True)
class ClaimedJob:
    """A job that this worker holds under `attempt` until its lease expires or it is committed."""

    job: Job
    attempt: int
    """The fencing token: the queue accepts a result only from the current attempt."""
    solo: bool
    """Its last batch crashed: run it alone, with no other job in the batch."""
    queued_s: float
    """Seconds from acceptance to this claim."""
    deadline_left_s: float | None
    """Seconds until the job expires, at the time of the claim."""


@dataclass(frozen=True)
class RenewReply:
    """Jobs that must leave the batch at the next step."""

    lost: frozenset[str]
    """Held by another worker or deleted: their results would be refused."""
    cancelled: frozenset[str]
    """Cancelled or past their deadline; already in their terminal state."""


class CommitReply(StrEnum):
    ACCEPTED = "accepted"
    FENCED = "fenced"
    """Another attempt holds the job, or it already has another result. Drop this one."""
