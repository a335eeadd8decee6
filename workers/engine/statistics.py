"""What a step did, and whose time it took. Knows counts and clocks only."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepStatistics:
    """What a step did. Keys of `rows`: decode, prefill, score; of `seconds`: these and schedule, pictures."""

    rows: dict[str, int]
    seconds: dict[str, float]
    slots_used: int
    slots_total: int
    waiting_rows: int
    images: int
    """Pictures finished in this step."""
    tokens: int
    """Tokens drawn in this step."""


@dataclass
class Meter:
    """Counts of the step at hand, and the seconds of every owner since they were last taken."""

    rows: dict[str, int] = field(default_factory=dict[str, int])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    images: int = 0
    tokens: int = 0
    _owners: dict[str, float] = field(default_factory=dict[str, float])

    def begin(self) -> None:
        """A new step."""
        self.rows, self.seconds, self.images, self.tokens = {}, {}, 0, 0

    @contextmanager
    def timed(self, phase: str, owners: Sequence[str] = ()) -> Generator[None]:
        """Count the time to a phase, and in equal shares to the owners of its rows."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
            for owner in owners:
                self.charge(owner, spent / len(owners))

    def charge(self, owner: str, seconds: float) -> None:
        self._owners[owner] = self._owners.get(owner, 0.0) + seconds

    def take(self, owner: str) -> float:
        """The owner's seconds, and forget them."""
        return self._owners.pop(owner, 0.0)
