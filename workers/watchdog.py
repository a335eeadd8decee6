"""Times the iterations of the engine loop, and ends a process whose loop hangs.

A hung step cannot be interrupted from Python, so the process has to end. Its leases then expire, and its jobs
run elsewhere.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class LoopTimer:
    """Written by the engine loop, read by all other threads."""

    def __init__(self) -> None:
        self._began_s: float | None = None

    @contextmanager
    def iteration(self) -> Generator[None]:
        """Time one iteration: admitting jobs, a step of the engine, and passing results on."""
        self._began_s = time.monotonic()
        try:
            yield
        finally:
            self._began_s = None

    def running_for_s(self) -> float:
        """Return the seconds that the present iteration has taken; 0 between iterations."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s


class Watchdog(threading.Thread):
    """Calls `on_hang` once, from its own thread, when an iteration takes longer than `limit_s`."""

    def __init__(self, timer: LoopTimer, *, limit_s: float, on_hang: Callable[[float], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._timer = timer
        self._limit_s = limit_s
        self._on_hang = on_hang
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(min(1.0, self._limit_s / 4)):
            running_s = self._timer.running_for_s()
            if running_s > self._limit_s:
                self._on_hang(running_s)
                return

    def stop(self) -> None:
        self._stopping.set()
