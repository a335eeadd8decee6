"""What a person who runs the server asks of the queue: lists, dead letters, a second chance."""

from typing import Any

from jobs.errors import JobNotFound
from jobs.job import JobState
from jobs.link import AsyncLink
from jobs.records import dead_letter_of, status_of
from jobs.replies import DeadLetter
from jobs.status import JobStatus

_PATIENCE_S = 3.0
_PURGE_STEP = 100
_MAX_LIMIT = 1000


class Operators:
    """The operator's calls of JobClient."""

    def __init__(self, link: AsyncLink) -> None:
        self._operator_link = link

    async def list_jobs(self, state: JobState, limit: int = 100) -> list[JobStatus]:
        """Queued jobs in the order they will run; ended ones latest first. At most 1,000."""
        return [status_of(job_id, record) for job_id, record in await self._listed(state, limit)]

    async def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Jobs given up, latest first, each with its reason."""
        return [dead_letter_of(job_id, record) for job_id, record in await self._listed(JobState.DEAD, limit)]

    async def retry(self, job_id: str) -> JobState:
        """Queue a dead letter again, alone and with a clean record; another job is left as it is."""
        state = await self._ask("retry", job_id)
        if state is None:
            raise JobNotFound(f"no job {job_id}")
        return JobState(state.decode())

    async def purge(self, *, older_than_s: float = 0.0) -> int:
        """Remove dead letters for good. Returns how many."""
        purged = 0
        while step := int(await self._ask("purge", _PURGE_STEP, older_than_s)):
            purged += step
        return purged

    async def _listed(self, state: JobState, limit: int) -> list[tuple[str, Any]]:
        ids = [job_id.decode() for job_id in await self._ask("list", state.value, min(limit, _MAX_LIMIT))]
        found = [(job_id, await self._ask("status", job_id)) for job_id in ids]
        return [(job_id, record) for job_id, record in found if record is not None]

    async def _ask(self, name: str, *arguments: str | int | float) -> Any:
        return await self._operator_link.run(name, *arguments, patience_s=_PATIENCE_S)
