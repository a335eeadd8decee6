"""Keeps what this process has reported to clients in the last 30 s, and stores it again after a failover.

A failover can undo writes that a replica has confirmed. In a planned one the old primary accepts jobs for
about a second after its successor was promoted, and its other replicas confirm them. So accepted jobs,
cancellations and shown results are kept here until they are found on the server 30 s later. While a server
has the queue for less than 15 s, they are checked every second, and those that are missing are stored again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any, Final

from jobs.client.capacity import raise_refusal
from jobs.client.kept import Kept, KeptItems
from jobs.client.submissions import confirmation_of, submit_call
from jobs.contract import codec
from jobs.contract.errors import AdmissionError, DataLost, OutcomeUnknown, QueueError, QueueUnavailable
from jobs.contract.job import Job
from jobs.contract.job_ids import is_younger
from jobs.contract.limits import QueueLimits
from jobs.contract.status import JobStatus
from jobs.redis import scripts
from jobs.redis.scripts import Call, Reply
from jobs.redis.transport import AsyncTransport

KEEP_S: Final = 30.0
"""Longer than an old primary can go on accepting jobs after its successor was promoted."""
SETTLING_S: Final = 15.0
"""Time after a failover in which every process finds the new primary and stores its jobs again."""
MOVED: Final = "The queue has just moved to another server, which may not have this job yet. Try again soon."
_TOO_NEW: Final = "This job is a few seconds old, and the server does not know it yet. Try again soon."
_CHECK_EVERY_S: Final = 1.0
_CLOSE_TIMEOUT_S: Final = 3.0
_RETRY_FOR_S: Final = 3.0
_CHUNK: Final = 500
_MAX_BYTES: Final = 128 << 20
_LIVE_STATES: Final = (b"queued", b"running")
_MISSING: Final = b""
_log = logging.getLogger(__name__)


class RecentWrites:
    """The recent submissions, cancellations and shown results of one process."""

    def __init__(self, transport: AsyncTransport, limits: QueueLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._jobs: KeptItems[Job] = KeptItems(_MAX_BYTES)
        self._cancellations: KeptItems[None] = KeptItems(_MAX_BYTES)
        self._results: KeptItems[Call[bytes | None]] = KeptItems(_MAX_BYTES)
        self._was_away = False
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.num_restored = 0
        """Jobs that this process has stored again."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._check_forever(), name="queue-recent-writes")

    async def close(self) -> None:
        """Stop, after a last check of what is kept."""
        self._closing.set()
        if self._task is None:
            return
        _, unfinished = await asyncio.wait({self._task}, timeout=_CLOSE_TIMEOUT_S)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def keep_job(self, job: Job, num_bytes: int) -> None:
        """Keep a job that the queue has accepted. `num_bytes` is the length of the encoded job."""
        self._jobs.put(job.id, job, num_bytes)

    def keep_cancellation(self, job_id: str) -> None:
        self._cancellations.put(job_id, None, 0)

    def keep_result(self, status: JobStatus, outcome: bytes) -> None:
        """Keep the encoded outcome of an ended job, before a client sees it."""
        if status.id in self._results:
            return
        call = scripts.restore_result(
            job_id=status.id,
            digest=codec.digest(outcome),
            state=status.state.value,
            outcome=outcome,
            code=status.failure.code if status.failure else "",
            message=status.failure.message if status.failure else "",
            worker=status.worker or "",
            model=status.model or "",
        )
        self._results.put(status.id, call, len(outcome))

    async def restore_missing(self, job_id: str) -> None:
        """Store a job again that Redis does not know, if this process has accepted it.

        Otherwise raises QueueUnavailable soon after a failover, because another process may have accepted it.
        A late Sentinel can leave this process at the old primary, so a new id raises it at any time.
        Raises OutcomeUnknown if another job has the idempotency key by now.
        """
        await self._transport.follow_primary()  # the old one may still answer
        age_s = await self._primary_age(_RETRY_FOR_S)
        kept = self._jobs.get(job_id)
        if kept is not None:
            if not await self._store_again(kept):
                raise OutcomeUnknown("A failover has undone the job. Retry with the same idempotency key.")
        elif age_s < SETTLING_S:
            raise QueueUnavailable(MOVED)
        elif is_younger(job_id, SETTLING_S):
            raise QueueUnavailable(_TOO_NEW)

    async def check(self, *, everything: bool = False) -> None:
        """Store again what is missing: of everything after a failover, else of what is kept long enough."""
        age_s = await self._primary_age(0.0)
        everything = everything or self._was_away or age_s < SETTLING_S
        await self._check_jobs(self._jobs.all() if everything else self._jobs.older_than(KEEP_S))
        if everything:
            for kept in self._cancellations.all():
                await self._run(scripts.cancel(job_id=kept.job_id))
            await self._check_results()
        self._cancellations.forget_older_than(KEEP_S)
        self._results.forget_older_than(KEEP_S)
        self._was_away = False

    async def _check_forever(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _CHECK_EVERY_S)
            try:
                await self._transport.follow_primary()
                if not (self._jobs or self._cancellations or self._results):
                    continue
                await self.check(everything=self._closing.is_set())
            except DataLost:
                for items in (self._jobs, self._cancellations, self._results):
                    items.clear()  # clients get an error for these jobs, so they must not run later
            except QueueError as error:
                if not self._was_away:
                    _log.warning("Recent jobs cannot be checked now; trying again. %s", error)
                self._was_away = True
            except Exception:
                _log.exception("Recent jobs cannot be checked; trying again.")

    async def _check_jobs(self, due: Iterable[Kept[Job]]) -> None:
        num_restored = self.num_restored
        for kept, state in await self._with_states(due):
            if state == _MISSING:
                await self._store_again_or_log(kept)
            elif kept.age_s >= KEEP_S:
                self._jobs.forget(kept)
        if restored := self.num_restored - num_restored:
            _log.warning("Stored %d jobs again that a failover or restart of Redis had undone.", restored)

    async def _check_results(self) -> None:
        for kept, state in await self._with_states(self._results.all()):
            if state in _LIVE_STATES:
                await self._run(kept.item)

    async def _store_again_or_log(self, kept: Kept[Job]) -> None:
        """Store a job again. Give up a job that no retry can store, with an error in the log."""
        try:
            await self._store_again(kept)
        except (QueueUnavailable, OutcomeUnknown, AdmissionError):
            raise
        except QueueError as error:
            _log.error("Job %s cannot be stored again after a failover: %s", kept.job_id, error)
            self._jobs.forget(kept)

    async def _store_again(self, kept: Kept[Job]) -> bool:
        """Return False if another job has the idempotency key."""
        job = kept.item
        waited_s = time.monotonic() - kept.accepted_s
        call = submit_call(job, codec.encode_job(job), self._limits, accepted_s_ago=waited_s)
        reply = await self._transport.run_confirmed(
            call, retry_for_s=_RETRY_FOR_S, confirmation=confirmation_of(self._limits)
        )
        raise_refusal(reply)
        if reply[2] == b"1":
            self.num_restored += 1
            self._jobs.renew(kept)
            return True
        self._jobs.forget(kept)
        return reply[1].decode() == job.id  # it has ended, and its record has expired

    async def _with_states(self, kept: Iterable[Kept[Any]]) -> list[tuple[Kept[Any], bytes]]:
        found: list[tuple[Kept[Any], bytes]] = []
        items = list(kept)
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            states = await self._run(scripts.states(job_ids=[item.job_id for item in chunk]))
            found += zip(chunk, states, strict=True)
        return found

    async def _primary_age(self, retry_for_s: float) -> float:
        return float(await self._transport.run(scripts.primary_age(), retry_for_s=retry_for_s))

    async def _run(self, call: Call[Reply]) -> Reply:
        return await self._transport.run(call, retry_for_s=_RETRY_FOR_S)
