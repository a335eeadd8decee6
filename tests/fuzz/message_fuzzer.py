"""Sends random conversations over sockets, and checks the responses and the health of the server."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import psutil
from rich.console import Console

from tests.fuzz.messages import SMUGGLED_ID, Conversation, conversation
from tests.support.probes import probing
from tests.support.wire import Wire

MAX_PROBE_S = 0.1
BATCH = 250
MAX_GROWTH_BYTES = 50_000_000
"""Of the API process after the first batch, which loads what every request needs."""
ATTEMPTS = 3
"""A batch is sent again while a probe takes too long: one slow probe may be due to the machine."""


@dataclass
class Fuzzer:
    """Counts over all batches; `faults` names the seed and the conversation of each."""

    port: int
    pid: int
    key: str
    seed: int
    num_cases: int = 0
    num_requests: int = 0
    statuses: dict[int, int] = field(default_factory=dict[int, int])
    longest_probe_s: float = 0.0
    faults: list[str] = field(default_factory=list[str])
    _rss_after_first_batch: int = 0

    @property
    def rss(self) -> int:
        return psutil.Process(self.pid).memory_info().rss

    def run(self, num_cases: int, console: Console) -> None:
        for start in range(0, num_cases, BATCH):
            numbers = range(start, min(start + BATCH, num_cases))
            longest_s = self._batch(numbers)
            for _ in range(ATTEMPTS - 1):
                if longest_s <= MAX_PROBE_S:
                    break
                longest_s = min(longest_s, self._batch(numbers))
            self.longest_probe_s = max(self.longest_probe_s, longest_s)
            self.num_cases += len(numbers)
            self._rss_after_first_batch = self._rss_after_first_batch or self.rss
            console.print(f"{self.num_cases} conversations, {len(self.faults)} faults")

    def summary(self, log: str) -> dict[str, Any]:
        unhandled = log.count('"event": "unhandled"') + log.count("Exception in ASGI application")
        growth = self.rss - self._rss_after_first_batch
        is_sound = not self.faults and not unhandled
        return {
            "passed": is_sound and self.longest_probe_s <= MAX_PROBE_S and growth < MAX_GROWTH_BYTES,
            "conversations": self.num_cases,
            "requests": self.num_requests,
            "statuses": dict(sorted(self.statuses.items())),
            "faults": self.faults[:20],
            "unhandled_exceptions": unhandled,
            "longest_probe_s": round(self.longest_probe_s, 4),
            "api_rss_after_first_batch_mb": round(self._rss_after_first_batch / 1e6, 1),
            "api_rss_after_mb": round(self.rss / 1e6, 1),
        }

    def _batch(self, numbers: range) -> float:
        """Send these conversations; the seconds of the longest health check meanwhile."""
        with probing(self.port, self.pid) as times_s:
            for number in numbers:
                talk = conversation(Random(f"{self.seed}-{number}"), number, self.key)
                if fault := self._fault_of(talk):
                    self.faults.append(f"seed {self.seed}, conversation {number}: {fault}")
        return max(times_s)

    def _fault_of(self, talk: Conversation) -> str | None:
        """What is wrong with the responses; None when each request got its own."""
        with Wire(self.port) as wire:
            try:
                wire.send(*talk.packets, pause_s=0.001)
            except OSError:
                if not talk.is_faulty:
                    return "the connection broke before everything was sent"
            for one in talk.ids:
                try:
                    reply = wire.reply()
                except (EOFError, OSError) as error:
                    # A reset for unread bytes of the fault may destroy responses on their way.
                    return None if talk.is_faulty and isinstance(error, OSError) else f"{one}: {error!r}"
                self.num_requests += 1
                self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
                if reply.id != one or not 200 <= reply.status < 500:
                    return f"{one}: {reply.status} for {reply.id}: {reply.body[:200]!r}"
            return _fault_of_end(wire) if talk.is_faulty else _fault_of_silence(wire)


def _fault_of_silence(wire: Wire) -> str | None:
    more = wire.rest(quiet_s=0.002)
    return f"more than the responses: {more[:200]!r}" if more else None


def _fault_of_end(wire: Wire) -> str | None:
    """A fault gets one 4xx and the end of the connection, or only the end."""
    try:
        reply = wire.reply()
        if reply.id == SMUGGLED_ID or not 400 <= reply.status < 500:
            return f"the fault got {reply.status} for {reply.id}"
        more = wire.rest(quiet_s=5)
    except (EOFError, OSError) as error:
        return "the connection stays open after a fault" if isinstance(error, TimeoutError) else None
    return None if more is None else f"more after a fault: {more[:200]!r}"
