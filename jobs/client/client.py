"""The asyncio side of the queue, for the API and the command line. Imports no torch and knows no HTTP.

Every call may raise QueueUnavailable (Redis is away), NotPermitted (it refuses the user or a command) or
DataLost (it has lost the queue's data).
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any, Self

from msgspec import structs

from jobs.client.calls import RETRY_FOR_S, found
from jobs.client.capacity import Capacity, raise_refusal
from jobs.client.event_reader import EventReader
from jobs.client.monitoring import Monitoring
from jobs.client.operators import Operators
from jobs.client.quotas import Quotas
from jobs.client.recent_writes import MOVED, RecentWrites
from jobs.client.records import failure_of, status_of
from jobs.client.replies import Submission
from jobs.client.submissions import confirmation_of, idempotency_suffix, submit_call
from jobs.contract import codec
from jobs.contract.errors import DataLost, JobNotFound, QueueError, QueueUnavailable
from jobs.contract.events import Event
from jobs.contract.job import Job, JobState
from jobs.contract.limits import DEFAULT_LIMITS, QueueLimits
from jobs.contract.results import Outcome
from jobs.contract.status import JobStatus
from jobs.redis import keys, scripts
from jobs.redis.pinned import cancellations, raise_if_cancelled
from jobs.redis.scripts import Call, Reply
from jobs.redis.server_info import Finding
from jobs.redis.transport import AsyncTransport, CallObserver, ignore_call

_SOCKET_TIMEOUT_S = 4.0
_RETRY_SUBMIT_FOR_S = 8.0


class JobClient(Operators, Monitoring):
    """The queue as the API sees it. Open one for each process with `connect`, and `close` it."""

    def __init__(
        self, url: str, queue: str, limits: QueueLimits, observe: CallObserver = ignore_call
    ) -> None:
        transport = AsyncTransport(url, queue, timeout_s=_SOCKET_TIMEOUT_S, observe=observe)
        super().__init__(transport, queue, replicas=limits.wait_replicas)
        self.quotas = Quotas(transport)
        self._capacity = Capacity(self._query_capacity)
        self._queue = queue
        self._limits = limits
        self._recent = RecentWrites(transport, limits)
        self._events = EventReader(
            url,
            queue,
            transport,
            lease_s=limits.lease_s,
            status=self.status,
            unreadable=self.unreadable,
        )
        self._background: set[asyncio.Task[Any]] = set()

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        queue: str = "rudolph",
        limits: QueueLimits = DEFAULT_LIMITS,
        initialise: bool = True,
        accept_data_loss: bool = False,
        observe: CallObserver = ignore_call,
    ) -> Self:
        """Connect to the queue, and initialise it on a server that never held its data.

        With `initialise` off, an empty server is not changed, and QueueUnavailable is raised.
        `accept_data_loss` discards the record of lost data; set it only on an operator's request. `observe`
        gets the time of each command to Redis.
        """
        client = cls(url, queue, limits, observe)
        try:
            if not initialise and await client._transport.command("GET", keys.epoch(queue)) is None:
                raise QueueUnavailable(
                    f"This Redis has no queue named {queue!r}. Check the URL and the queue's name."
                )
            if initialise:
                await client._transport.check_rights(retry_for_s=RETRY_FOR_S, replicas=limits.wait_replicas)
            call = scripts.initialise(new_epoch=uuid.uuid4().hex, accept_loss=accept_data_loss)
            await client._transport.initialise(call, retry_for_s=RETRY_FOR_S)
        except BaseException:
            await client.close()
            raise
        client._events.start()
        client._recent.start()
        return client

    async def close(self) -> None:
        if self._background:
            _, unfinished = await asyncio.wait(self._background, timeout=RETRY_FOR_S)
            for task in unfinished:  # or they would open connections after the transport is closed
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._capacity.close()
        await self._recent.close()
        await self._events.close()
        await self._transport.close()

    async def submit(self, job: Job) -> Submission:
        """Accept `job` whole, or raise QueueFull, TenantQuotaExceeded, IdempotencyConflict, OutcomeUnknown.

        Cancellation does not interrupt it. If the submitter of a synchronous job is cancelled, the job is
        cancelled too, because no client waits for it.
        """
        task = asyncio.create_task(self._submit(job))
        self._run_in_background(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if job.synchronous:
                self._run_in_background(asyncio.create_task(self._cancel_when_submitted(task)))
            raise

    async def check_capacity(self, tenant: str, num_bytes: int, *, key: str | None = None) -> None:
        """Raise QueueFull or TenantQuotaExceeded if `submit` would refuse now, or would have 0.5 s ago.

        The repetition of a known idempotency `key` passes.
        """
        await self._capacity.check(tenant, num_bytes, key or "")

    async def status(self, job_id: str) -> JobStatus:
        """Return the job's status. Raises JobNotFound: the id is unknown, or its time to live ended."""
        return status_of(job_id, await self._find(job_id, scripts.status(job_id=job_id)))

    async def outcome(self, job_id: str) -> Outcome | None:
        """Return the job's one outcome; None while it has none. Raises JobNotFound."""
        return (await self.report(job_id))[1]

    async def report(self, job_id: str) -> tuple[JobStatus, Outcome | None]:
        """Return the job's status and its one outcome; None while it has none. Raises JobNotFound.

        With replicas configured a result is returned once they have it, so that no failover can replace it.
        """
        *record, data = await self._find(job_id, scripts.report(job_id=job_id))
        status = status_of(job_id, record)
        if not status.state.is_terminal:
            return status, None
        if status.state in (JobState.SUCCEEDED, JobState.FAILED):
            if self._limits.wait_replicas and data is not None:
                data = await self._transport.read_confirmed(
                    scripts.confirmable_result(job_id=job_id),
                    retry_for_s=RETRY_FOR_S,
                    confirmation=confirmation_of(self._limits),
                )
                if data is None:  # the two calls met different servers
                    raise QueueUnavailable(MOVED)
            if isinstance(data, bytes):
                self._recent.keep_result(status, data)
                return status, codec.decode_outcome(data)
        if status.state is JobState.SUCCEEDED:
            raise JobNotFound(f"The result of job {job_id} has expired. Submit the job again.")
        return status, failure_of(status)

    async def wait(self, job_id: str, timeout_s: float | None) -> Outcome:
        """Return the outcome as soon as there is one. Raises TimeoutError, JobNotFound."""
        return (await self.final_report(job_id, timeout_s))[1]

    async def final_report(
        self, job_id: str, timeout_s: float | None, *, is_new: bool = False
    ) -> tuple[JobStatus, Outcome]:
        """Return the final status and the outcome as soon as there is one. Raises TimeoutError, JobNotFound.

        `is_new`: this client has just submitted the job, so its terminal event will arrive, and the first
        query can wait for it.
        """
        before = cancellations()
        async with asyncio.timeout(timeout_s):
            with self._events.subscribe(job_id) as inbox:
                if is_new:
                    await inbox.wait_for_end()
                while (report := await self._report_if_ended(job_id)) is None:
                    raise_if_cancelled(before)
                    await inbox.wait_for_end()
        return report

    async def events(self, job_id: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Yield the job's present state and then its events, or the events after the event `after`.

        Ends after the event of a terminal state. A slow reader may miss progress and partial results, but no
        terminal state. Raises JobNotFound.
        """
        await self.status(job_id)
        async for event in self._events.follow(job_id, after):
            yield event

    @contextmanager
    def subscribe(self, job_id: str) -> Generator[AsyncGenerator[Event, None]]:
        """Yield the events of a job that is about to be submitted, so that the stream misses none.

        The stream ends as that of `events`.
        """
        with self._events.subscribe(job_id) as inbox:
            yield self._events.follow_inbox(job_id, inbox)

    async def cancel(self, job_id: str) -> JobState:
        """Cancel a job and return its state: a queued job ends at once, a running one is asked to stop.

        Raises JobNotFound.
        """
        state = JobState((await self._find(job_id, scripts.cancel(job_id=job_id))).decode())
        if state in (JobState.RUNNING, JobState.CANCELLED):
            self._recent.keep_cancellation(job_id)
        return state

    @property
    def num_stored_again(self) -> int:
        """Jobs that this client has stored again after a failover or restart of Redis."""
        return self._recent.num_restored

    async def server_findings(self) -> list[Finding]:
        """Return the faults of the Redis server for this client's limits. Writes nothing."""
        info = await self.server_info()
        if info is None:
            return []
        wait = self._limits.wait_replicas
        return list(info.findings(wait_replicas=wait, clock_difference_s=await self.clock_difference_s()))

    async def _find(self, job_id: str, call: Call[Reply | None]) -> Reply:
        """Return the reply about a job. Raises JobNotFound, or QueueUnavailable soon after a failover."""
        reply = await self._run(call)
        if reply is None:
            await self._recent.restore_missing(job_id)
            reply = await self._run(call)
        return found(job_id, reply)

    async def _submit(self, job: Job) -> Submission:
        body = codec.encode_job(job)
        reply = await self._transport.run_confirmed(
            submit_call(job, body, self._limits),
            retry_for_s=_RETRY_SUBMIT_FOR_S,
            confirmation=confirmation_of(self._limits),
        )
        raise_refusal(reply)
        accepted = Submission(reply[1].decode(), reply[2] == b"1")
        # A job that another process has accepted under the same key is kept here too: this client knows it.
        self._recent.keep_job(job if accepted.created else structs.replace(job, id=accepted.id), len(body))
        return accepted

    async def _cancel_when_submitted(self, task: asyncio.Task[Submission]) -> None:
        try:
            submission = await task
            if submission.created:
                await self.cancel(submission.id)
        except QueueError:
            return

    async def _report_if_ended(self, job_id: str) -> tuple[JobStatus, Outcome] | None:
        """Return the report, or None while the job runs or Redis is away: the job is stored and will run."""
        try:
            status, outcome = await self.report(job_id)
        except DataLost:
            raise
        except QueueUnavailable:
            return None
        return None if outcome is None else (status, outcome)

    async def _query_capacity(self, tenant: str, num_bytes: int, key: str) -> list[bytes]:
        limits = self._limits
        return await self._run(
            scripts.capacity(
                tenant=tenant,
                num_bytes=num_bytes,
                max_depth=limits.max_depth,
                max_bytes=limits.max_bytes,
                tenant_max_jobs=limits.tenant_max_jobs,
                tenant_max_bytes=limits.tenant_max_bytes,
                idempotency_suffix=idempotency_suffix(tenant, key),
            )
        )

    def _run_in_background(self, task: asyncio.Task[Any]) -> None:
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # mark it as retrieved; a caller that still awaits the task gets it too
