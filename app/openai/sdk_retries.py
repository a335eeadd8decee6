"""Recognises retries of the official SDK, which repeats a request without an idempotency key.

A first attempt gets a new key, so that two equal requests remain two. A retry gets the key of the latest
equal attempt that no other retry has taken. The memory is that of this process: a retry that reaches another
API process runs the work again.
"""

import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

WINDOW_S = 600.0
MAX_REMEMBERED = 10_000
MAX_EQUAL = 100
"""Attempts of equal requests that are remembered. A retry looks through all of them."""
SDK_GRACE_S = 10.0
"""Least grace period of a job whose client is the SDK. It waits up to 8 s between two retries."""


@dataclass
class Attempt:
    """One request of an SDK client with all its retries."""

    key: str = field(default_factory=lambda: f"sdk-{uuid.uuid4().hex}")
    retries: int = 0
    answered: bool = False
    seen_s: float = field(default_factory=time.monotonic)


class RetryMemory:
    """Attempts by the digest of their request, the latest used digest last."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[str, deque[Attempt]] = OrderedDict()
        self._num_attempts = 0

    def attempt(self, digest: str, retry_count: int) -> Attempt:
        """Return the attempt of this request. `retry_count`: as the SDK counts, 0 for the first."""
        self._forget()
        known = self._attempts.setdefault(digest, deque())
        self._attempts.move_to_end(digest)
        found = self._untaken(known, retry_count) if retry_count else None
        if found is None:
            found = Attempt()
            known.append(found)
            self._num_attempts += 1
            if len(known) > MAX_EQUAL:
                known.popleft()
                self._num_attempts -= 1
        found.retries = retry_count
        found.seen_s = time.monotonic()
        return found

    @staticmethod
    def _untaken(known: Iterable[Attempt], retry_count: int) -> Attempt | None:
        open_ones = [attempt for attempt in known if attempt.retries < retry_count]
        # A retry usually follows a failure. An answered attempt matches only when its reply was lost.
        return min(open_ones, key=lambda attempt: (attempt.answered, -attempt.seen_s), default=None)

    def _forget(self) -> None:
        oldest_s = time.monotonic() - WINDOW_S
        while self._attempts:
            digest, attempts = next(iter(self._attempts.items()))
            if self._num_attempts < MAX_REMEMBERED and attempts[-1].seen_s >= oldest_s:
                return
            del self._attempts[digest]
            self._num_attempts -= len(attempts)
