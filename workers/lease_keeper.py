"""Renews the leases of the held jobs in a thread that the engine loop cannot stall.

A job that was lost or cancelled is revoked here and leaves the batch at the next step. When no renewal
succeeded for `grace_s`, another worker may soon run the same jobs. `may_emit` is then False until a renewal
succeeds, and the outbox sends nothing.
"""

import threading
import time

from jobs.contract.errors import QueueError
from jobs.worker.consumer import JobConsumer
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics
from workers.leases import LeaseTable
from workers.watchdog import LoopTimer

logger = get_logger("workers.lease_keeper")


class LeaseKeeper(threading.Thread):
    def __init__(
        self,
        consumer: JobConsumer,
        leases: LeaseTable,
        timer: LoopTimer,
        metrics: WorkerMetrics,
        *,
        every_s: float,
        grace_s: float,
        watchdog_s: float,
    ) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._consumer = consumer
        self._leases = leases
        self._timer = timer
        self._metrics = metrics
        self._every_s = every_s
        self._grace_s = grace_s
        self._watchdog_s = watchdog_s
        self._renewed_s = time.monotonic()
        self._stopping = threading.Event()

    @property
    def may_emit(self) -> bool:
        """Whether the last successful renewal is younger than `grace_s`."""
        return time.monotonic() - self._renewed_s < self._grace_s

    def run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.renew()

    def renew(self) -> None:
        """Renew once. A failure is logged, and the next call tries again."""
        # Before the call, because the lease counts from the time when Redis ran the script.
        started_s = time.monotonic()
        held = self._leases.attempts()
        if not held:
            self._renewed_s = started_s
            return
        running_s = self._timer.running_for_s()
        if running_s > self._watchdog_s:
            logger.error("not_renewing_hung_step", jobs=len(held), running_s=round(running_s, 1))
            return
        try:
            reply = self._consumer.renew(held)
        except QueueError as error:
            logger.warning("renewal_failed", jobs=len(held), error=str(error))
            return
        self._renewed_s = started_s
        for job_id, lease in self._leases.revoke(reply.lost):
            self._metrics.lease_lost_total.inc()
            logger.warning("lease_lost", job=job_id, **lease.log_fields)
        for job_id, lease in self._leases.revoke(reply.cancelled):
            self._metrics.jobs_total.labels(lease.task, "cancelled").inc()
            lease.span.end("cancelled")
            logger.info("job_cancelled", job=job_id, **lease.log_fields)

    def stop(self) -> None:
        self._stopping.set()
