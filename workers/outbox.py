"""Sends events and outcomes to Redis from threads, so that the engine never waits for Redis.

There are several lanes, because a server that writes to disk before it answers can take many outcomes with
one write. One job uses one lane, so its events and its outcome arrive in order. An outcome is retried until
Redis answers; an event is dropped when Redis is away. While the leases are uncertain, nothing is sent.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from jobs.contract.errors import CodecError, QueueError
from jobs.contract.events import EventBody
from jobs.contract.results import JobFailure, Outcome
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import CommitReply
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics
from workers.gen_ai import response_attributes
from workers.leases import Lease, LeaseTable

logger = get_logger("workers.outbox")

NUM_LANES = 4
MAX_EVENTS = 250
"""Items in a lane above which new events are dropped."""
RETRY_S = 0.25


@dataclass(frozen=True)
class _Event:
    job_id: str
    attempt: int
    body: EventBody
    queued_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _Commit:
    job_id: str
    lease: Lease
    outcome: Outcome
    compute_s: float


class _Lane(threading.Thread):
    """One queue of events and outcomes, sent in order."""

    def __init__(self, number: int, send: Callable[["_Lane", _Event | _Commit], None]) -> None:
        super().__init__(name=f"outbox-{number}", daemon=True)
        self.items: queue.Queue[_Event | _Commit | None] = queue.Queue()
        self.unreachable_s = float("-inf")
        """Time of the last event that Redis did not accept."""
        self._send = send

    def run(self) -> None:
        while (item := self.items.get()) is not None:
            self._send(self, item)


class Outbox:
    """`may_emit` returns False while the leases are uncertain."""

    def __init__(
        self,
        consumer: JobConsumer,
        leases: LeaseTable,
        metrics: WorkerMetrics,
        *,
        model: str,
        may_emit: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._leases = leases
        self._metrics = metrics
        self._model = model
        self._may_emit = may_emit
        self._aborting = threading.Event()
        self._lanes = [_Lane(number, self._send) for number in range(NUM_LANES)]

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    def publish(self, job_id: str, attempt: int, body: EventBody) -> None:
        """Queue an event. It is dropped if too many items wait."""
        items = self._lane(job_id).items
        if self._leases.is_held(job_id, attempt) and items.qsize() < MAX_EVENTS:
            items.put(_Event(job_id, attempt, body))

    def commit(self, job_id: str, lease: Lease, outcome: Outcome, compute_s: float) -> None:
        """Queue the job's outcome."""
        self._lane(job_id).items.put(_Commit(job_id, lease, outcome, compute_s))

    def close(self, timeout_s: float) -> bool:
        """Send what is queued, for at most `timeout_s`. Returns False if something stayed unsent."""
        deadline_s = time.monotonic() + timeout_s
        for lane in self._lanes:
            lane.items.put(None)
        for lane in self._lanes:
            lane.join(max(deadline_s - time.monotonic(), 0.0))
        self._aborting.set()
        return not any(lane.is_alive() for lane in self._lanes)

    def _lane(self, job_id: str) -> _Lane:
        return self._lanes[hash(job_id) % NUM_LANES]

    def _send(self, lane: _Lane, item: _Event | _Commit) -> None:
        if isinstance(item, _Event):
            self._publish(lane, item)
        else:
            self._commit_until_answered(item)

    def _publish(self, lane: _Lane, event: _Event) -> None:
        # Redis did not take an event after this one was queued. A further attempt may last a whole socket
        # timeout, and the outcomes in the lane would wait for it.
        is_late = event.queued_s <= lane.unreachable_s
        if is_late or not self._may_emit() or not self._leases.is_held(event.job_id, event.attempt):
            return
        try:
            self._consumer.publish(event.job_id, event.attempt, event.body)
        except QueueError as error:
            lane.unreachable_s = time.monotonic()
            logger.debug("event_dropped", job=event.job_id, error=str(error))

    def _commit_until_answered(self, item: _Commit) -> None:
        has_warned = False
        while not self._aborting.is_set():
            if self._may_emit():
                try:
                    self._commit(item)
                except CodecError as error:
                    # No retry can encode it, so the job fails instead.
                    failure = JobFailure("internal_error", f"The result could not be encoded. {error}")
                    item = _Commit(item.job_id, item.lease, failure, item.compute_s)
                except QueueError as error:
                    if not has_warned:
                        logger.warning(
                            "commit_waits", job=item.job_id, error=str(error), **item.lease.log_fields
                        )
                    has_warned = True
                else:
                    return
            time.sleep(RETRY_S)

    def _commit(self, item: _Commit) -> None:
        lease = item.lease
        reply = self._consumer.commit(
            item.job_id, lease.attempt, item.outcome, compute_s=item.compute_s, model=self._model
        )
        was_held = self._leases.remove(item.job_id, lease.attempt)
        if reply is CommitReply.FENCED:
            # The lease keeper has counted a lease that it revoked.
            if was_held:
                self._metrics.lease_lost_total.inc()
            logger.warning("commit_fenced", job=item.job_id, **lease.log_fields)
            return
        failure = item.outcome.code if isinstance(item.outcome, JobFailure) else None
        outcome = "succeeded" if failure is None else "failed"
        lease.span.end(
            outcome,
            compute_s=item.compute_s,
            failure=failure,
            gen_ai=partial(response_attributes, item.outcome, self._model),
        )
        self._metrics.jobs_total.labels(lease.task, outcome).inc()
        self._metrics.compute_seconds.labels(lease.task).observe(item.compute_s)
        if not isinstance(item.outcome, JobFailure):
            usage = item.outcome.usage
            self._metrics.count_input(usage.input_tokens, usage.input_image_tokens)
        logger.info(
            "job_finished",
            job=item.job_id,
            task=str(lease.task),
            outcome=outcome,
            compute_s=round(item.compute_s, 3),
            **lease.log_fields,
        )
