"""The asyncio side of the queue, for the API and the command line. Imports no torch and knows no HTTP.

Every call may raise QueueUnavailable (Redis is away) or DataLost (it is there, the data are not).
"""

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any, Self

from jobs import codec, connection, keys
from jobs.announcements import ModelInfo, WorkerInfo
from jobs.capacity import Capacity, raise_refusal
from jobs.errors import DataLost, JobNotFound, QueueError, QueueUnavailable
from jobs.events import Event
from jobs.job import Job, JobState
from jobs.limits import DEFAULT_LIMITS, QueueLimits
from jobs.link import Argument, AsyncLink
from jobs.operators import Operators
from jobs.quotas import Quotas
from jobs.records import failure_of, status_of
from jobs.replies import QueueStats, Submission
from jobs.results import Outcome
from jobs.status import JobStatus
from jobs.watcher import Watcher

_SOCKET_TIMEOUT_S = 4.0
_PATIENCE_S = 3.0
_SUBMIT_PATIENCE_S = 8.0
_PING_TIMEOUT_S = 1.5
_MODEL_CACHE_S = 1.0
_MAX_PRIORITY = 10
_JOB_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class JobClient(Operators):
    """The queue as the API sees it. Make one a process with `connect`, and `close` it."""

    def __init__(self, url: str, queue: str, limits: QueueLimits) -> None:
        link = AsyncLink(url, queue, timeout_s=_SOCKET_TIMEOUT_S)
        super().__init__(link)
        self.quotas = Quotas(link)
        self._capacity = Capacity(self._ask_for_room)
        self._link = link
        self._queue = queue
        self._limits = limits
        self._watcher = Watcher(url, queue, link, lease_s=limits.lease_s)
        self._model: tuple[float, ModelInfo | None] = (-_MODEL_CACHE_S, None)
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
    ) -> Self:
        """Reach the queue, and initialise it if its server is empty and nobody has ever seen data there.

        With `initialise` off an empty server is left as it is, and QueueUnavailable raised.
        `accept_data_loss` is an operator's word that whatever was there before may be forgotten.
        """
        client = cls(url, queue, limits)
        try:
            if not initialise and await client._link.command("GET", keys.epoch(queue)) is None:
                raise QueueUnavailable(f"this Redis knows no queue named {queue!r}")
            await client._link.initialise(
                uuid.uuid4().hex, accept_loss=accept_data_loss, patience_s=_PATIENCE_S
            )
        except BaseException:
            await client.close()
            raise
        client._watcher.start()
        return client

    async def close(self) -> None:
        if self._background:
            _, unfinished = await asyncio.wait(self._background, timeout=_PATIENCE_S)
            for task in unfinished:  # or they would open connections that nobody closes
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._capacity.close()
        await self._watcher.close()
        await self._link.close()

    async def submit(self, job: Job, *, tenant_max_jobs: int | None = None) -> Submission:
        """Accept `job` whole, or raise QueueFull, TenantQuotaExceeded, IdempotencyConflict, OutcomeUnknown.

        Not interrupted by cancellation; a synchronous job whose submitter was cancelled meanwhile is itself
        cancelled, for nobody waits for it any more.
        """
        task = asyncio.create_task(self._submit(job, tenant_max_jobs))
        self._keep(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if job.synchronous:
                self._keep(asyncio.create_task(self._cancel_when_submitted(task)))
            raise

    async def check_capacity(
        self, tenant: str, num_bytes: int, *, key: str | None = None, tenant_max_jobs: int | None = None
    ) -> None:
        """Refuse early what `submit` would refuse now, or would have half a second ago.

        A repetition of a known `key` is let through. Raises QueueFull, TenantQuotaExceeded.
        """
        await self._capacity.check(tenant, num_bytes, tenant_max_jobs, key or "")

    async def status(self, job_id: str) -> JobStatus:
        """Raises JobNotFound: never known, or forgotten since its time to live ended."""
        return status_of(job_id, await self._found("status", job_id))

    async def outcome(self, job_id: str) -> Outcome | None:
        """The job's one outcome; None while it has none yet. Raises JobNotFound."""
        return (await self.report(job_id))[1]

    async def report(self, job_id: str) -> tuple[JobStatus, Outcome | None]:
        """The job as it stands, and its one outcome; None while it has none yet. Raises JobNotFound.

        With replicas configured a result is shown once they have it, so that no failover can replace it.
        """
        *record, data = await self._found("report", job_id)
        status = status_of(job_id, record)
        if not status.state.is_terminal:
            return status, None
        if status.state in (JobState.SUCCEEDED, JobState.FAILED):
            if self._limits.wait_replicas:
                data = await self._link.read_confirmed(
                    "GET",
                    keys.result(self._queue, job_id),
                    replicas=self._limits.wait_replicas,
                    replica_timeout_ms=self._limits.wait_timeout_ms,
                )
            if data is not None:
                return status, codec.decode_outcome(data)
        if status.state is JobState.SUCCEEDED:
            raise JobNotFound(f"the result of job {job_id} is no longer kept")
        return status, failure_of(status)

    async def wait(self, job_id: str, timeout_s: float | None) -> Outcome:
        """The outcome, as soon as there is one. Raises TimeoutError, JobNotFound."""
        return (await self.final_report(job_id, timeout_s))[1]

    async def final_report(
        self, job_id: str, timeout_s: float | None, *, is_new: bool = False
    ) -> tuple[JobStatus, Outcome]:
        """How the job ended and its outcome, as soon as there is one. Raises TimeoutError, JobNotFound.

        `is_new`: this client has just submitted it, so its end is heard of, and need not be asked for now.
        """
        before = connection.cancellations()
        async with asyncio.timeout(timeout_s):
            with self._watcher.watch(job_id) as inbox:
                if is_new:
                    await inbox.wait_for_end()
                while (report := await self._report_if_ended(job_id)) is None:
                    connection.honour_cancellation(before)
                    await inbox.wait_for_end()
        return report

    async def events(self, job_id: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        """What happens to the job, from its present state on, or from behind the event `after`.

        Ends behind the event of a terminal state. Progress and partial results may be left out when a reader
        is slow; states are not. Raises JobNotFound.
        """
        await self.status(job_id)
        async for event in self._watcher.follow(job_id, after):
            yield event

    @contextmanager
    def expect(self, job_id: str) -> Generator[AsyncGenerator[Event, None]]:
        """Events of a job that is about to be submitted: who enters this before `submit` misses none of them.

        Ends as `events` does.
        """
        with self._watcher.watch(job_id) as inbox:
            yield self._watcher.hear(job_id, inbox)

    async def cancel(self, job_id: str) -> JobState:
        """Queued: terminal at once. Running: asked to stop. The state afterwards. Raises JobNotFound."""
        return JobState((await self._found("cancel", job_id)).decode())

    async def workers(self) -> list[WorkerInfo]:
        """What each live worker last said of itself."""
        return [codec.decode_worker(data) for data in await self._run("workers")]

    async def model_info(self) -> ModelInfo | None:
        """The model of a live worker that takes jobs; at most a second old. None: there is no such worker."""
        now = asyncio.get_running_loop().time()
        if now - self._model[0] >= _MODEL_CACHE_S:
            live = [worker for worker in await self.workers() if not worker.draining]
            self._model = (now, live[0].model if live else None)
        return self._model[1]

    async def stats(self) -> QueueStats:
        waiting, running, dead, num_bytes, mean, workers, totals = await self._run("stats")
        return QueueStats(
            waiting=int(waiting),
            running=int(running),
            dead=int(dead),
            input_bytes=int(num_bytes),
            mean_service_s=float(mean),
            workers_live=int(workers),
            totals={
                state.decode(): int(count) for state, count in zip(totals[::2], totals[1::2], strict=True)
            },
        )

    async def ping(self) -> None:
        """Raises QueueUnavailable within 1.5 s unless the server is there with the data that we know."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await self._link.run("stats", patience_s=0.0)
        except TimeoutError:
            raise QueueUnavailable("the queue does not answer") from None

    async def _submit(self, job: Job, tenant_max_jobs: int | None) -> Submission:
        if not _JOB_ID.fullmatch(job.id) or not -_MAX_PRIORITY <= job.priority <= _MAX_PRIORITY:
            raise ValueError(f"not a job id or priority: {job.id!r}, {job.priority}")
        limits = self._limits
        idempotency = keys.idempotency_suffix(job.tenant, job.idempotency_key) if job.idempotency_key else ""
        ttl_s = limits.synchronous_ttl_s if job.synchronous else limits.job_ttl_s
        reply = await self._link.run_confirmed(
            "submit", job.id, idempotency, job.digest or codec.request_digest(job.request),
            codec.encode_job(job), job.tenant, job.task.value, job.priority, job.rows,
            "" if job.deadline_s is None else job.deadline_s, ttl_s, int(job.synchronous),
            job.model_revision or "", *self._bounds(tenant_max_jobs),
            patience_s=_SUBMIT_PATIENCE_S, replicas=limits.wait_replicas,
            replica_timeout_ms=limits.wait_timeout_ms,
        )  # fmt: skip
        raise_refusal(reply)
        return Submission(reply[1].decode(), reply[2] == b"1")

    async def _cancel_when_submitted(self, task: asyncio.Task[Submission]) -> None:
        try:
            submission = await task
            if submission.created:
                await self.cancel(submission.id)
        except QueueError:
            return

    async def _report_if_ended(self, job_id: str) -> tuple[JobStatus, Outcome] | None:
        """While Redis is away a waiting client keeps waiting: its job is safe and will be done."""
        try:
            status, outcome = await self.report(job_id)
        except DataLost:
            raise
        except QueueUnavailable:
            return None
        return None if outcome is None else (status, outcome)

    async def _found(self, script: str, job_id: str) -> Any:
        reply = await self._run(script, job_id)
        if reply is None:
            raise JobNotFound(f"no job {job_id}")
        return reply

    async def _ask_for_room(
        self, tenant: str, num_bytes: int, tenant_max_jobs: int | None, key: str
    ) -> list[bytes]:
        known = keys.idempotency_suffix(tenant, key) if key else ""
        return await self._run("capacity", tenant, num_bytes, *self._bounds(tenant_max_jobs), known)

    def _bounds(self, tenant_max_jobs: int | None) -> tuple[Argument, ...]:
        limits = self._limits
        tenant_jobs = limits.tenant_max_jobs if tenant_max_jobs is None else tenant_max_jobs
        return limits.max_depth, limits.max_bytes, tenant_jobs, limits.tenant_max_bytes

    async def _run(self, name: str, *arguments: Argument) -> Any:
        return await self._link.run(name, *arguments, patience_s=_PATIENCE_S)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # the one who awaits it has it, if there is still anyone
