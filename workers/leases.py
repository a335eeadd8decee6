"""The jobs that this worker holds, shared by its threads. Knows no Redis and no engine."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobs.contract.requests import Task
from telemetry.tracing import AttemptSpan


@dataclass(frozen=True)
class Lease:
    """One attempt of a job, held by this worker."""

    attempt: int
    task: Task
    span: AttemptSpan
    """Ended with the attempt. The span of a lost or released lease is never ended, so it is not reported."""
    request_id: str | None = None

    @property
    def log_fields(self) -> dict[str, object]:
        """Fields of every log line about this attempt."""
        request = {} if self.request_id is None else {"request_id": self.request_id}
        return {"attempt": self.attempt, **request, **self.span.log_fields}


@dataclass
class RunningJob:
    """A job in the session. Only the engine loop uses it."""

    lease: Lease
    accepted_s: float
    """Monotonic time of the job's acceptance, from its queue time at the claim."""
    has_shown: bool = False
    """A partial image or text was published."""


class LeaseTable:
    """A lease enters with the claim of its job and leaves when the job is committed, lost or released."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._revoked: set[tuple[str, int]] = set()

    def add(self, job_id: str, lease: Lease) -> None:
        with self._lock:
            self._leases[job_id] = lease

    def remove(self, job_id: str, attempt: int) -> bool:
        """Remove the lease of this attempt. Returns False if it was not held; another attempt stays."""
        with self._lock:
            lease = self._leases.get(job_id)
            if lease is None or lease.attempt != attempt:
                return False
            del self._leases[job_id]
            return True

    def revoke(self, job_ids: Iterable[str]) -> list[tuple[str, Lease]]:
        """Remove leases and pass them to the engine loop by `take_revoked`. Returns those that were held."""
        with self._lock:
            taken = [(job_id, self._leases.pop(job_id)) for job_id in job_ids if job_id in self._leases]
            self._revoked.update((job_id, lease.attempt) for job_id, lease in taken)
            return taken

    def take_revoked(self) -> set[tuple[str, int]]:
        """Return the job ids and attempts revoked since the last call."""
        with self._lock:
            revoked, self._revoked = self._revoked, set[tuple[str, int]]()
            return revoked

    def find(self, job_id: str, attempt: int) -> Lease | None:
        """Return the lease of this attempt; None if it is not held."""
        with self._lock:
            lease = self._leases.get(job_id)
            return lease if lease is not None and lease.attempt == attempt else None

    def is_held(self, job_id: str, attempt: int) -> bool:
        return self.find(job_id, attempt) is not None

    def attempts(self) -> Mapping[str, int]:
        """Return job id → attempt for all leases."""
        with self._lock:
            return {job_id: lease.attempt for job_id, lease in self._leases.items()}
