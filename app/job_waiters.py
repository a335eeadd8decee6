"""Counts the clients that wait for each job, and cancels a job that its last client has left.

A synchronous job belongs to the clients that wait for it. When the last one leaves, the job is cancelled. A
job with an idempotency key is cancelled after a grace period, in which a retry may find it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from jobs.client.client import JobClient
from jobs.contract.errors import QueueError

DRAIN_S = 3.0


class JobWaiters:
    """The clients of this process by job, and the jobs that are cancelled with their last client."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._owned: set[str] = set()
        self._absences: dict[str, asyncio.Task[None]] = {}
        """By job: the grace period that began when its last client left."""
        self._cancelling: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def track(
        self, client: JobClient, job_id: str, *, owns: bool, grace_s: float
    ) -> AsyncGenerator[None]:
        """Count a client of the job. An exception in the block abandons the job unless others wait."""
        if owns:
            self._owned.add(job_id)
        self._waiting[job_id] += 1
        if absence := self._absences.pop(job_id, None):
            absence.cancel()
        finished = False
        try:
            yield
            finished = True
        finally:
            self._waiting[job_id] -= 1
            if not self._waiting[job_id]:
                del self._waiting[job_id]
                if finished:
                    self._owned.discard(job_id)
                elif job_id in self._owned:
                    # In a task of its own, because the request's task may be in cancellation.
                    self._absences[job_id] = asyncio.create_task(self._abandon(client, job_id, grace_s))

    async def drain(self) -> None:
        """Wait until every owned job is cancelled whose clients the shutdown disconnects; ends all grace."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._waiting or self._absences or self._cancelling:  # noqa: ASYNC110 - once per process
                    await asyncio.sleep(0.01)

    async def _abandon(self, client: JobClient, job_id: str, grace_s: float) -> None:
        """Cancel the job after the grace period, which ends when a client returns."""
        if grace_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), grace_s)
        # From here on a returning client is too late. The cancellation itself must not be interrupted.
        del self._absences[job_id]
        self._owned.discard(job_id)
        task = asyncio.create_task(self._cancel(client, job_id))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    @staticmethod
    async def _cancel(client: JobClient, job_id: str) -> None:
        with suppress(QueueError):
            await client.cancel(job_id)
