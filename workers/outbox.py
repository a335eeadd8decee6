"""What the engine has finished, on its way to Redis, in threads of its own: the engine never waits for it.

Outcomes are kept until Redis has answered, however long it is away; events are dropped when it is. While the
leases are uncertain (`may_emit` false) nothing leaves. Several lanes, because a server that writes to disk
before it answers can take many outcomes with one such write; what concerns one job leaves in order.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.consumer import JobConsumer
from jobs.errors import CodecError, QueueError
from jobs.events import EventBody
from jobs.replies import CommitReply
from jobs.results import JobFailure, Outcome
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics
from workers.holds import Hold, Holds

logger = get_logger("workers.outbox")

LANES = 4
MAX_EVENTS = 250
"""Events in line in one lane above which further ones are dropped."""
RETRY_S = 0.25


@dataclass(frozen=True)
class _Event:
    job_id: str
    attempt: int
    body: EventBody


@dataclass(frozen=True)
class _Commit:
    job_id: str
    hold: Hold
    outcome: Outcome
    compute_s: float


_Line = queue.Queue[_Event | _Commit | None]


class Outbox:
    """Lines of what leaves, and a thread for each."""

    def __init__(
        self,
        consumer: JobConsumer,
        holds: Holds,
        metrics: WorkerMetrics,
        *,
        model: str,
        may_emit: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._holds = holds
        self._metrics = metrics
        self._model = model
        self._may_emit = may_emit
        self._aborting = threading.Event()
        self._lanes = [_Line() for _ in range(LANES)]
        self._threads = [
            threading.Thread(target=self._send_all, args=(lane,), name=f"outbox-{number}", daemon=True)
            for number, lane in enumerate(self._lanes)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def publish(self, job_id: str, attempt: int, body: EventBody) -> None:
        """Tell waiting clients something, perhaps."""
        lane = self._lane(job_id)
        if self._holds.holds(job_id, attempt) and lane.qsize() < MAX_EVENTS:
            lane.put(_Event(job_id, attempt, body))

    def commit(self, job_id: str, hold: Hold, outcome: Outcome, compute_s: float) -> None:
        """Make the outcome the job's result, unless another attempt has done so."""
        self._lane(job_id).put(_Commit(job_id, hold, outcome, compute_s))

    def close(self, timeout_s: float) -> bool:
        """Send what is in line, for so long at most. False: something stayed unsent; its lease runs out."""
        deadline_s = time.monotonic() + timeout_s
        for lane in self._lanes:
            lane.put(None)
        for thread in self._threads:
            thread.join(max(deadline_s - time.monotonic(), 0.0))
        self._aborting.set()
        return not any(thread.is_alive() for thread in self._threads)

    def _lane(self, job_id: str) -> _Line:
        return self._lanes[hash(job_id) % LANES]

    def _send_all(self, lane: _Line) -> None:
        while (item := lane.get()) is not None:
            if isinstance(item, _Event):
                self._publish(item)
            else:
                self._commit_until_answered(item)

    def _publish(self, event: _Event) -> None:
        if not self._may_emit() or not self._holds.holds(event.job_id, event.attempt):
            return
        try:
            self._consumer.publish(event.job_id, event.attempt, event.body)
        except QueueError as error:
            logger.debug("event_dropped", job=event.job_id, error=str(error))

    def _commit_until_answered(self, item: _Commit) -> None:
        warned = False
        while not self._aborting.is_set():
            if self._may_emit():
                try:
                    self._commit(item)
                except CodecError as error:
                    # Cannot be written, now or later: say so instead of trying for ever.
                    failure = JobFailure("internal_error", f"the result could not be encoded: {error}")
                    item = _Commit(item.job_id, item.hold, failure, item.compute_s)
                except QueueError as error:
                    if not warned:
                        logger.warning("commit_waits", job=item.job_id, error=str(error))
                    warned = True
                else:
                    return
            time.sleep(RETRY_S)

    def _commit(self, item: _Commit) -> None:
        hold = item.hold
        reply = self._consumer.commit(
            item.job_id, hold.attempt, item.outcome, compute_s=item.compute_s, model=self._model
        )
        was_held = self._holds.remove(item.job_id, hold.attempt)
        if reply is CommitReply.FENCED:
            # Otherwise the lease keeper has counted it already.
            if was_held:
                self._metrics.lease_lost_total.inc()
            logger.warning("commit_fenced", job=item.job_id, attempt=hold.attempt)
            return
        failure = item.outcome.code if isinstance(item.outcome, JobFailure) else None
        outcome = "succeeded" if failure is None else "failed"
        hold.span.end(outcome, compute_s=item.compute_s, failure=failure)
        self._metrics.jobs_total.labels(hold.task, outcome).inc()
        self._metrics.compute_seconds.labels(hold.task).observe(item.compute_s)
        logger.info(
            "job_finished",
            job=item.job_id,
            task=str(hold.task),
            attempt=hold.attempt,
            outcome=outcome,
            compute_s=round(item.compute_s, 3),
            **hold.span.log_fields,
        )
