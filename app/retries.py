"""Retries of the official SDK, recognised without a key: it sends none, and repeats a request by itself.

A first attempt gets a key of its own, so that two equal requests remain two. A retry gets the key of the
latest equal attempt that nobody has taken up yet. Remembered in this process only: behind several API
processes a retry that reaches another one pays again.
"""

import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

WINDOW_S = 600.0
MAX_REMEMBERED = 10_000


@dataclass
class Attempt:
    """One request of an SDK client with all its retries."""

    key: str = field(default_factory=lambda: f"sdk-{uuid.uuid4().hex}")
    retries: int = 0
    answered: bool = False
    seen_s: float = field(default_factory=time.monotonic)


class RetryMemory:
    """Equal requests by their digest, the newest last."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[str, list[Attempt]] = OrderedDict()

    def attempt(self, digest: str, retry_count: int) -> Attempt:
        """The attempt that this request belongs to; `retry_count` as the SDK counts, 0 for the first."""
        self._forget()
        known = self._attempts.setdefault(digest, [])
        self._attempts.move_to_end(digest)
        found = self._untaken(known, retry_count) if retry_count else None
        if found is None:
            found = Attempt()
            known.append(found)
        found.retries = retry_count
        found.seen_s = time.monotonic()
        return found

    @staticmethod
    def _untaken(known: list[Attempt], retry_count: int) -> Attempt | None:
        open_ones = [attempt for attempt in known if attempt.retries < retry_count]
        # A retry usually follows a failure; an answered attempt is its own only when the answer got lost.
        return min(open_ones, key=lambda attempt: (attempt.answered, -attempt.seen_s), default=None)

    def _forget(self) -> None:
        oldest_s = time.monotonic() - WINDOW_S
        while self._attempts:
            digest, attempts = next(iter(self._attempts.items()))
            if len(self._attempts) <= MAX_REMEMBERED and attempts[-1].seen_s >= oldest_s:
                return
            del self._attempts[digest]
