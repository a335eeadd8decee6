"""Takes jobs from the queue while the engine has room, in a thread of its own, into an inbox.

The engine loop says how much room there is after each of its steps (`offer`) and empties the inbox before
the next one. A job that must run alone comes by itself; nothing is claimed until the loop offers room again.
"""

import threading
from collections import deque

from jobs.consumer import JobConsumer
from jobs.errors import QueueError
from jobs.replies import ClaimedJob
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics
from telemetry.tracing import Tracer
from workers.holds import Hold, Holds

logger = get_logger("workers.claimer")

MAX_JOBS = 32
"""Jobs in one claim at most, so that one worker does not empty the queue before the others wake."""
MAX_RETRY_S = 2.0


class Claimer(threading.Thread):
    def __init__(
        self,
        consumer: JobConsumer,
        holds: Holds,
        metrics: WorkerMetrics,
        wake: threading.Event,
        tracer: Tracer,
    ) -> None:
        super().__init__(name="claimer", daemon=True)
        self._consumer = consumer
        self._holds = holds
        self._metrics = metrics
        self._wake = wake
        """Set when the inbox has something for the engine loop."""
        self._tracer = tracer
        self._inbox: deque[ClaimedJob] = deque()
        self._room = threading.Condition()
        self._free_rows = 0
        self._mean_rows = 1.0
        self._stopping = False

    def offer(self, free_rows: int) -> None:
        """The engine can take jobs of about so many rows now."""
        with self._room:
            self._free_rows = free_rows
            if free_rows > 0:
                self._room.notify()

    def first(self) -> ClaimedJob | None:
        """The next job in the inbox, left there."""
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
                job.id, job.task, one.attempt, rows=job.rows, queued_s=one.queued_s, traceparent=job.trace
            )
            self._holds.add(job.id, Hold(one.attempt, job.task, span))
            self._metrics.queue_seconds.observe(one.queued_s)
            self._mean_rows += 0.2 * (job.rows - self._mean_rows)
        with self._room:
            # Until the loop has seen these it must not be given more.
            self._free_rows = 0
        self._inbox.extend(claimed)
        self._wake.set()

    def _wait_for_room(self) -> int:
        """Number of jobs to ask for; 0 when stopping."""
        with self._room:
            while not self._stopping and self._free_rows <= 0:
                self._room.wait()
            if self._stopping:
                return 0
            return max(1, min(MAX_JOBS, int(self._free_rows / max(1.0, self._mean_rows))))

    def _pause(self, seconds: float) -> None:
        with self._room:
            if not self._stopping:
                self._room.wait(seconds)
