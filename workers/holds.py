"""The jobs that this worker holds, shared by its threads.

Knows which attempt of which job is ours and what was taken away; does not know Redis or the engine.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobs.job import Task
from telemetry.tracing import AttemptSpan


@dataclass(frozen=True)
class Hold:
    attempt: int
    task: Task
    span: AttemptSpan
    """Ended by whoever ends the attempt. Lost or given back, it is never ended and so never reported."""


class Holds:
    """A job enters with its claim and leaves when its outcome is committed, refused or given back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Hold] = {}
        self._revoked: set[tuple[str, int]] = set()

    def add(self, job_id: str, hold: Hold) -> None:
        with self._lock:
            self._held[job_id] = hold

    def remove(self, job_id: str, attempt: int) -> bool:
        """Forget this attempt; a later attempt of the same job stays. False: it was not held any more."""
        with self._lock:
            held = self._held.get(job_id)
            if held is None or held.attempt != attempt:
                return False
            del self._held[job_id]
            return True

    def revoke(self, job_ids: Iterable[str]) -> list[tuple[str, Hold]]:
        """Stop holding these; the engine loop learns of it from `take_revoked`. Returns those it held."""
        with self._lock:
            taken = [(job_id, self._held.pop(job_id)) for job_id in job_ids if job_id in self._held]
            self._revoked.update((job_id, held.attempt) for job_id, held in taken)
            return taken

    def take_revoked(self) -> set[tuple[str, int]]:
        """Job ids and attempts revoked since the last call."""
        with self._lock:
            revoked, self._revoked = self._revoked, set[tuple[str, int]]()
            return revoked

    def find(self, job_id: str, attempt: int) -> Hold | None:
        """This very attempt, while it is still ours."""
        with self._lock:
            held = self._held.get(job_id)
            return held if held is not None and held.attempt == attempt else None

    def holds(self, job_id: str, attempt: int) -> bool:
        """Whether this very attempt is still ours."""
        return self.find(job_id, attempt) is not None

    def attempts(self) -> Mapping[str, int]:
        """Job id → attempt, as the queue asks for it."""
        with self._lock:
            return {job_id: held.attempt for job_id, held in self._held.items()}
