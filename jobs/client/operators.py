"""The operator's calls: lists of jobs, dead letters, and running a dead letter again."""

import logging
from collections.abc import Callable
from typing import TypeVar

from jobs.client.calls import ScriptCalls, found
from jobs.client.records import dead_letter_of, status_of
from jobs.client.replies import ANY_JOB, DeadLetter, JobFilter
from jobs.contract.errors import CodecError
from jobs.contract.job import JobState
from jobs.contract.status import JobStatus
from jobs.redis import scripts
from jobs.redis.scripts import Record

_PURGE_STEP = 100
_ALL = 1_000_000_000
_log = logging.getLogger(__name__)

Entry = TypeVar("Entry")


class Operators(ScriptCalls):
    """The part of JobClient for operators."""

    async def list_jobs(
        self, state: JobState, chosen: JobFilter = ANY_JOB, *, limit: int | None = 100
    ) -> list[JobStatus]:
        """Return the jobs in a state that pass a filter, queued ones in running order, ended latest first.

        `limit`: None returns all. Of ended jobs that are not dead, at most the latest 5,000 are searched. An
        unreadable job is logged, counted and left out.
        """
        now_s = await self.redis_time_s()
        call = scripts.list_jobs(state=state.value, limit=limit if limit and chosen.is_open else _ALL)
        found: list[JobStatus] = []
        for job_id in await self._run(call):
            status = await self._read(job_id.decode(errors="replace"), status_of)
            # Its state may have changed since its id was listed.
            if status is not None and status.state is state and chosen.takes(status, now_s):
                found.append(status)
            if len(found) == limit:
                break
        return found

    async def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters, latest first, each with its reason."""
        call = scripts.list_jobs(state=JobState.DEAD.value, limit=limit)
        letters = [
            await self._read(job_id.decode(errors="replace"), dead_letter_of)
            for job_id in await self._run(call)
        ]
        return [letter for letter in letters if letter is not None]

    async def pause(self, reason: str) -> bool:
        """Pause the queue: workers finish what they run, and claim nothing.

        Returns False if it was paused; the reason is then replaced.
        """
        return bool(await self._run(scripts.pause(reason=reason)))

    async def resume(self) -> bool:
        """End a pause. Returns False if the queue was not paused."""
        return bool(await self._run(scripts.resume()))

    async def drain_worker(self, worker_id: str) -> bool:
        """Ask a worker to finish what it runs and to end. Returns False if no such worker is live."""
        return bool(await self._run(scripts.drain(worker=worker_id)))

    async def retry(self, job_id: str) -> JobState:
        """Queue a dead letter again, alone and with its crashes forgotten. Returns the state afterwards.

        A job in another state is not changed. Raises JobNotFound.
        """
        state = found(job_id, await self._run(scripts.retry(job_id=job_id)))
        return JobState(state.decode())

    async def purge(self, *, older_than_s: float = 0.0) -> int:
        """Delete dead letters. Returns how many."""
        purged = 0
        while step := await self._run(scripts.purge(limit=_PURGE_STEP, min_age_s=older_than_s)):
            purged += step
        return purged

    async def _read(self, job_id: str, read: Callable[[str, Record], Entry]) -> Entry | None:
        try:
            record = await self._run(scripts.status(job_id=job_id))
            return None if record is None else read(job_id, record)
        except CodecError as error:
            self.unreadable["record"] += 1
            _log.warning("Job %s is left out of a list: %s", job_id, error)
            return None
