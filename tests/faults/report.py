"""Input and output of a fault test: its size, its figures, and the marks that it missed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

OnProgress = Callable[[str, int, int], None]
"""What is being done, how much of it, of how much."""


@dataclass(frozen=True)
class Scale:
    """Size of a fault test."""

    jobs: int
    faults: int
    lease_s: float = 1.0
    workers: int = 3
    slack: float = 1.0
    """Factor on marks that measure this machine more than the queue, for test runs on busy ones."""


@dataclass
class Report:
    """Figures of one fault test, and the marks that it missed. None: this fault has no such figure."""

    accepted: int | None = None
    completed: int | None = None
    """Accepted jobs that reached a terminal state."""
    duplicates: int | None = None
    """Jobs made twice of one submission, or committed twice."""
    lost: int | None = None
    """Accepted jobs of which the queue knows nothing any more, or that never end."""
    recovery_s: list[float] = field(default_factory=list[float])
    """From each fault until the queue went on as before."""
    figures: dict[str, float | int] = field(default_factory=dict[str, float | int])
    missed: list[str] = field(default_factory=list[str])

    def mark(self, sentence: str, met: bool) -> None:
        if not met:
            self.missed.append(sentence)

    def at_most(self, name: str, value: float, limit: float) -> None:
        self.figures[name] = round(value, 3)
        self.mark(f"{name} is {value:.3g}, more than {limit:.3g}", value <= limit)

    def at_least(self, name: str, value: float, limit: float) -> None:
        self.figures[name] = round(value, 3)
        self.mark(f"{name} is {value:.3g}, less than {limit:.3g}", value >= limit)

    def exactly(self, name: str, value: int, expected: int) -> None:
        self.figures[name] = value
        self.mark(f"{name} is {value}, not {expected}", value == expected)

    def recovered_within(self, limit_s: float) -> None:
        """Every recovery was that quick; and there was one."""
        self.mark("something had to recover", len(self.recovery_s) > 0)
        if self.recovery_s:
            self.at_most("slowest recovery, s", max(self.recovery_s), limit_s)

    def summary(self) -> dict[str, float | int | None]:
        """The figures that every fault has, by the names of the report."""
        times_s = self.recovery_s
        return {
            "accepted": self.accepted,
            "completed": self.completed,
            "duplicates": self.duplicates,
            "lost": self.lost,
            "recovery_p50_s": round(quantile(times_s, 0.5), 3) if times_s else None,
            "recovery_p99_s": round(quantile(times_s, 0.99), 3) if times_s else None,
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all values lie. Raises IndexError if there are none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
