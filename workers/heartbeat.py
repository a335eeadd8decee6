"""Sends heartbeats with the worker's description and metrics, and requeues expired leases of all workers."""

import threading
import time
from collections.abc import Callable

from jobs.contract.errors import OtherModel, QueueError, QueueUnavailable
from jobs.contract.worker_info import WorkerInfo
from jobs.worker.consumer import JobConsumer
from telemetry.logging import get_logger

logger = get_logger("workers.heartbeat")

TTL_S = 10.0
EVERY_S = 2.0
REAP_EVERY_S = 1.0


class Heartbeat(threading.Thread):
    """Calls `describe` for every heartbeat.

    Calls `on_stop` if workers of another model have the queue, or if an operator drains this worker.
    """

    def __init__(
        self, consumer: JobConsumer, describe: Callable[[], WorkerInfo], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._consumer = consumer
        self._describe = describe
        self._on_stop = on_stop
        self.is_retired = False
        """An operator drains this worker."""
        self.refusal: str | None = None
        """Why the queue does not accept this worker any more."""
        self._failure = ""
        """What was wrong with the last heartbeat; empty if nothing was."""
        self._stopping = threading.Event()
        self._now = threading.Event()
        self._accepted_s = time.monotonic()

    def problem(self) -> str | None:
        """Return a sentence if Redis has accepted no heartbeat for too long; else None."""
        silent_s = time.monotonic() - self._accepted_s
        if silent_s <= 3 * TTL_S:
            return None
        return f"Redis has accepted no heartbeat for {silent_s:.0f} s. {self._failure}".rstrip()

    def beat_now(self) -> None:
        """Send a heartbeat now, because the description has changed."""
        self._now.set()

    def run(self) -> None:
        beat_s = float("-inf")
        failing = False
        while not self._stopping.is_set():
            try:
                if self._now.is_set() or time.monotonic() - beat_s >= EVERY_S:
                    self._now.clear()
                    beat_s = time.monotonic()
                    # A worker without a right that it needs must not count as live.
                    self._consumer.check_rights()
                    if self._consumer.heartbeat(self._describe(), ttl_s=TTL_S) and not self.is_retired:
                        logger.info("drain_requested")
                        self.is_retired = True
                        self._on_stop()
                    self._accepted_s = time.monotonic()
                if reaped := self._consumer.reap():
                    logger.warning("leases_expired", jobs=reaped)
                failing, self._failure = False, ""
            except OtherModel as error:
                # This process was frozen, or cut off from Redis, until its place was free.
                if self.refusal is None:
                    logger.error("model_replaced", message=str(error))
                self.refusal = str(error)
                self._on_stop()
            except QueueError as error:
                self._failure = error.reason if isinstance(error, QueueUnavailable) else str(error)
                if not failing:
                    logger.warning("heartbeat_failed", error=self._failure)
                failing = True
            self._now.wait(REAP_EVERY_S)

    def stop(self) -> None:
        self._stopping.set()
        self._now.set()
