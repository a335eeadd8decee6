"""Sends events from a thread of its own, so that telling a client never holds up a batch."""

import queue
import threading

from jobs import codec
from jobs.errors import QueueError
from jobs.events import EventBody, Progress
from jobs.link import SyncLink

_MAX_WAITING = 1000
_PATIENCE_S = 0.0


class Publisher:
    """A bounded queue and a thread. When either is behind, events are dropped, never waited for."""

    def __init__(self, link: SyncLink) -> None:
        self._link = link
        self._waiting: queue.Queue[tuple[str, int, EventBody] | None] = queue.Queue(_MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def publish(self, job_id: str, attempt: int, body: EventBody) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="job-events", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait((job_id, attempt, body))
        except queue.Full:
            return

    def close(self) -> None:
        """Send what waits, then stop."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(timeout=2.0)

    def _send_all(self) -> None:
        while (event := self._waiting.get()) is not None:
            job_id, attempt, body = event
            is_progress = "1" if isinstance(body, Progress) else "0"
            try:
                self._link.run(
                    "publish", job_id, attempt, codec.encode_event_body(body), is_progress,
                    patience_s=_PATIENCE_S,
                )  # fmt: skip
            except QueueError:
                continue
