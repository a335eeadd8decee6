"""Says that the worker lives and what it counts, and sends expired leases of any worker back to the queue."""

import threading
import time
from collections.abc import Callable

from jobs.announcements import WorkerInfo
from jobs.consumer import JobConsumer
from jobs.errors import QueueError
from telemetry.logging import get_logger

logger = get_logger("workers.heartbeat")

TTL_S = 10.0
EVERY_S = 2.0
REAP_EVERY_S = 1.0


class Heartbeat(threading.Thread):
    """`describe` is asked anew for every beat."""

    def __init__(self, consumer: JobConsumer, describe: Callable[[], WorkerInfo]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._consumer = consumer
        self._describe = describe
        self._stopping = threading.Event()
        self._now = threading.Event()
        self._heard_s = time.monotonic()

    @property
    def silent_for_s(self) -> float:
        """Seconds since Redis last took a heartbeat."""
        return time.monotonic() - self._heard_s

    def beat_now(self) -> None:
        """Do not wait for the next beat: something that others must know has changed."""
        self._now.set()

    def run(self) -> None:
        beat_s = float("-inf")
        failing = False
        while not self._stopping.is_set():
            try:
                if self._now.is_set() or time.monotonic() - beat_s >= EVERY_S:
                    self._now.clear()
                    beat_s = time.monotonic()
                    self._consumer.heartbeat(self._describe(), ttl_s=TTL_S)
                    self._heard_s = time.monotonic()
                if reaped := self._consumer.reap():
                    logger.warning("leases_expired", jobs=reaped)
                failing = False
            except QueueError as error:
                if not failing:
                    logger.warning("heartbeat_failed", error=str(error))
                failing = True
            self._now.wait(REAP_EVERY_S)

    def stop(self) -> None:
        self._stopping.set()
        self._now.set()
