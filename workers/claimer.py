"""Claims jobs in a thread while the engine has free slots, and puts them into an inbox.

The engine loop calls `offer` with the number of free slots after each step, and empties the inbox before the
next step. A claim that returned jobs is followed by no other until the next `offer`.
"""

import threading
from collections import deque
from functools import partial

from jobs.contract.errors import QueueError
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import ClaimedJob
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics
from telemetry.tracing import Tracer
from workers.gen_ai import request_attributes
from workers.leases import Lease, LeaseTable

logger = get_logger("workers.claimer")

MAX_JOBS = 32
"""Maximum number of jobs in a claim, so that one worker does not empty the queue before others wake."""
MAX_RETRY_S = 2.0


class Claimer(threading.Thread):
    def __init__(
        self,
        consumer: JobConsumer,
        leases: LeaseTable,
        metrics: WorkerMetrics,
        wake: threading.Event,
        tracer: Tracer,
    ) -> None:
        super().__init__(name="claimer", daemon=True)
        self._consumer = consumer
        self._leases = leases
        self._metrics = metrics
        self._wake = wake
        """Set when the inbox has something for the engine loop."""
        self._tracer = tracer
        self._inbox: deque[ClaimedJob] = deque()
        self._room = threading.Condition()
        self._free_slots = 0
        self._mean_sequences = 1.0
        self._stopping = False

    def offer(self, free_slots: int) -> None:
        """Allow a claim of jobs that need about `free_slots` slots."""
        with self._room:
            self._free_slots = free_slots
            if free_slots > 0:
                self._room.notify()

    def first(self) -> ClaimedJob | None:
        """Return the next job in the inbox without removing it; None if there is none."""
        return self._inbox[0] if self._inbox else None

    def take(self) -> ClaimedJob:
        return self._inbox.popleft()

    def run(self) -> None:
        retry_s = 0.1
        while (limit := self._wait_for_room()) > 0:
            try:
                claimed = self._consumer.claim(limit)
                if not claimed:
                    self._consumer.wait_for_work(1.0)
                retry_s = 0.1
            except QueueError as error:
                logger.warning("claim_failed", error=str(error), retry_s=retry_s)
                self._pause(retry_s)
                retry_s = min(retry_s * 2, MAX_RETRY_S)
                continue
            if claimed:
                self._receive(claimed)

    def stop(self) -> None:
        with self._room:
            self._stopping = True
            self._room.notify()

    def _receive(self, claimed: list[ClaimedJob]) -> None:
        for one in claimed:
            job = one.job
            span = self._tracer.attempt(
                job.id,
                job.task,
                one.attempt,
                num_sequences=job.num_sequences,
                queued_s=one.queued_s,
                traceparent=job.trace,
                gen_ai=partial(request_attributes, job),
            )
            self._leases.add(job.id, Lease(one.attempt, job.task, span, job.request_id))
            self._metrics.queue_seconds.observe(one.queued_s)
            self._mean_sequences += 0.2 * (job.num_sequences - self._mean_sequences)
        with self._room:
            # The loop has not counted these jobs yet.
            self._free_slots = 0
        self._inbox.extend(claimed)
        self._wake.set()

    def _wait_for_room(self) -> int:
        """Wait for an offer. Returns the number of jobs to claim; 0 when stopping."""
        with self._room:
            while not self._stopping and self._free_slots <= 0:
                self._room.wait()
            if self._stopping:
                return 0
            return max(1, min(MAX_JOBS, int(self._free_slots / max(1.0, self._mean_sequences))))

    def _pause(self, seconds: float) -> None:
        with self._room:
            if not self._stopping:
                self._room.wait(seconds)
