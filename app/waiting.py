"""Waiting for a job on behalf of a client that is still there; and what becomes of the job when it is not.

A synchronous job belongs to those who wait for it. When the last one leaves, it is cancelled: at once, or, if
it has an idempotency key, after a short grace in which a retry may come back for it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from starlette.requests import Request

from app.errors import ClientGone, deadline_passed
from jobs.client import JobClient
from jobs.errors import QueueError
from jobs.results import Outcome
from jobs.status import JobStatus

SETTLE_S = 3.0


class Waiters:
    """Who in this process waits for which job, and which jobs live only as long as somebody does."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._owned: set[str] = set()
        self._partings: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def joined(
        self, client: JobClient, job_id: str, *, owns: bool, grace_s: float
    ) -> AsyncGenerator[None]:
        """Count a reader of the job. Leaving by an exception abandons the job unless others wait."""
        if owns:
            self._owned.add(job_id)
        self._waiting[job_id] += 1
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
                    self._part(client, job_id, grace_s)

    async def settle(self) -> None:
        """See every owned job cancelled whose readers the shutdown has cut off; no grace any more."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while self._waiting or self._partings:  # noqa: ASYNC110 - two sets, at the end of a process
                    await asyncio.sleep(0.01)

    def _part(self, client: JobClient, job_id: str, grace_s: float) -> None:
        # A task of its own: the request's task may be on its way out by cancellation.
        task = asyncio.create_task(self._cancel(client, job_id, grace_s))
        self._partings.add(task)
        task.add_done_callback(self._partings.discard)

    async def _cancel(self, client: JobClient, job_id: str, grace_s: float) -> None:
        if grace_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), grace_s)
        if self._waiting[job_id]:
            return
        self._owned.discard(job_id)
        with suppress(QueueError):
            await client.cancel(job_id)


async def wait_for_report(
    client: JobClient,
    waiters: Waiters,
    request: Request,
    job_id: str,
    *,
    owns: bool,
    grace_s: float,
    deadline_s: float,
) -> tuple[JobStatus, Outcome]:
    """How the job ended, with its outcome. Raises ApiError 504 past the deadline; ClientGone."""
    gone = asyncio.create_task(disconnected(request))
    while_there = asyncio.timeout(None)

    def leave(_: asyncio.Task[None]) -> None:
        with suppress(RuntimeError):  # the wait is over already
            while_there.reschedule(0.0)

    try:
        async with waiters.joined(client, job_id, owns=owns, grace_s=grace_s), while_there:
            gone.add_done_callback(leave)
            return await client.final_report(job_id, deadline_s, is_new=owns)
    except TimeoutError:
        raise (ClientGone() if gone.done() else deadline_passed(deadline_s)) from None
    finally:
        gone.cancel()


async def disconnected(request: Request) -> None:
    """Returns once the client has closed its connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
