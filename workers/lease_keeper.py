"""Renews the leases of the held jobs, from a thread that the engine loop cannot stall.

A job whose lease was lost, or that was cancelled, is revoked here and leaves the batch at the next step.
When nothing could be renewed for `grace_s`, another worker may soon run the same jobs: `may_emit` turns false
until a renewal succeeds, and nothing is said about them meanwhile.
"""

import threading
import time

from jobs.consumer import JobConsumer
from jobs.errors import QueueError
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics
from workers.holds import Holds
from workers.pulse import Pulse

logger = get_logger("workers.lease_keeper")


class LeaseKeeper(threading.Thread):
    def __init__(
        self,
        consumer: JobConsumer,
        holds: Holds,
        pulse: Pulse,
        metrics: WorkerMetrics,
        *,
        every_s: float,
        grace_s: float,
        watchdog_s: float,
    ) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._consumer = consumer
        self._holds = holds
        self._pulse = pulse
        self._metrics = metrics
        self._every_s = every_s
        self._grace_s = grace_s
        self._watchdog_s = watchdog_s
        self._renewed_s = time.monotonic()
        self._stopping = threading.Event()

    @property
    def may_emit(self) -> bool:
        """Whether the leases were certain to be ours recently enough."""
        return time.monotonic() - self._renewed_s < self._grace_s

    def run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.renew()

    def renew(self) -> None:
        """One renewal; a failure is logged and left to the next one."""
        # Before the call: the lease counts from when Redis ran the script, not from when we heard of it.
        started_s = time.monotonic()
        held = self._holds.attempts()
        if not held:
            self._renewed_s = started_s
            return
        if self._pulse.stuck_for_s() > self._watchdog_s:
            logger.error(
                "not_renewing_hung_step", jobs=len(held), stuck_s=round(self._pulse.stuck_for_s(), 1)
            )
            return
        try:
            reply = self._consumer.renew(held)
        except QueueError as error:
            logger.warning("renewal_failed", jobs=len(held), error=str(error))
            return
        self._renewed_s = started_s
        for job_id, hold in self._holds.revoke(reply.lost):
            self._metrics.lease_lost_total.inc()
            logger.warning("lease_lost", job=job_id, attempt=hold.attempt)
        for job_id, hold in self._holds.revoke(reply.cancelled):
            self._metrics.jobs_total.labels(hold.task, "cancelled").inc()
            hold.span.end("cancelled")
            logger.info("job_cancelled", job=job_id, attempt=hold.attempt)

    def stop(self) -> None:
        self._stopping.set()
