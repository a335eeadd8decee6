"""When the engine loop last moved, and the watchdog that ends a process whose loop does not.

Knows monotonic time only. A hung step cannot be interrupted from Python, so the process has to go; its leases
then run out and the jobs run elsewhere.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Pulse:
    """Written by the engine loop, read by every other thread."""

    def __init__(self) -> None:
        self._turn_began_s: float | None = None

    @contextmanager
    def turn(self) -> Generator[None]:
        """Marks the time in which the loop takes jobs in, steps the engine, and hands results on."""
        self._turn_began_s = time.monotonic()
        try:
            yield
        finally:
            self._turn_began_s = None

    def stuck_for_s(self) -> float:
        """Seconds that the present turn has taken; 0 between turns."""
        began_s = self._turn_began_s
        return 0.0 if began_s is None else time.monotonic() - began_s


class Watchdog(threading.Thread):
    """Calls `on_hang` once, from its own thread, when a turn takes longer than `limit_s`."""

    def __init__(self, pulse: Pulse, *, limit_s: float, on_hang: Callable[[float], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._pulse = pulse
        self._limit_s = limit_s
        self._on_hang = on_hang
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(min(1.0, self._limit_s / 4)):
            stuck_s = self._pulse.stuck_for_s()
            if stuck_s > self._limit_s:
                self._on_hang(stuck_s)
                return

    def stop(self) -> None:
        self._stopping.set()
