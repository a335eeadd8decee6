"""Statistics of a step, and the time spent for each owner."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepStatistics:
    """Counts and times of a step, by stage: decode, prefill, score; `seconds` also schedule, pictures."""

    sequences: dict[str, int]
    seconds: dict[str, float]
    slots_used: int
    slots_total: int
    waiting_sequences: int
    images: int
    """Images finished in this step."""
    tokens: int
    """Tokens drawn in this step."""


@dataclass
class Meter:
    """Counts of the current step, and the seconds of every owner since `take`."""

    sequences: dict[str, int] = field(default_factory=dict[str, int])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    images: int = 0
    tokens: int = 0
    _owners: dict[str, float] = field(default_factory=dict[str, float])

    def begin(self) -> None:
        """Begin a step."""
        self.sequences, self.seconds, self.images, self.tokens = {}, {}, 0, 0

    @contextmanager
    def timed(self, phase: str, owners: Sequence[str] = ()) -> Generator[None]:
        """Add the time to a phase, and in equal shares to the owners of its sequences."""
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
        """Return the owner's seconds, and reset them."""
        return self._owners.pop(owner, 0.0)
