"""Items by job id with their age, bounded by bytes. Knows nothing of Redis."""

import logging
import time
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

_OVERHEAD_BYTES: Final = 2048
"""Memory of an entry besides its encoded item, roughly."""
_log = logging.getLogger(__name__)
Item = TypeVar("Item")


@dataclass
class Kept(Generic[Item]):
    """One item and its times, in seconds of the monotonic clock."""

    job_id: str
    item: Item
    num_bytes: int
    accepted_s: float = field(default_factory=time.monotonic)
    stored_s: float = field(default_factory=time.monotonic)
    """When it was stored last: later than `accepted_s` after a failover."""

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.stored_s


class KeptItems(Generic[Item]):
    """The newest items, at most `max_bytes` of them. The oldest are dropped first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: dict[str, Kept[Item]] = {}
        self._has_warned = False

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, job_id: str, item: Item, num_bytes: int) -> None:
        """Keep an item from now on. It replaces an item of the same job."""
        if job_id in self._kept:
            self.forget(self._kept[job_id])
        kept = self._kept[job_id] = Kept(job_id, item, num_bytes + _OVERHEAD_BYTES)
        self._num_bytes += kept.num_bytes
        while self._num_bytes > self._max_bytes and len(self._kept) > 1:
            oldest = next(iter(self._kept.values()))
            if not self._has_warned:
                _log.warning(
                    "What was accepted in %.1f s fills %d MiB; older items are not kept for a failover.",
                    oldest.age_s,
                    self._max_bytes >> 20,
                )
                self._has_warned = True
            self.forget(oldest)

    def get(self, job_id: str) -> Kept[Item] | None:
        return self._kept.get(job_id)

    def all(self) -> list[Kept[Item]]:
        return list(self._kept.values())

    def older_than(self, age_s: float) -> list[Kept[Item]]:
        due: list[Kept[Item]] = []
        for kept in self._kept.values():  # the oldest is first
            if kept.age_s < age_s:
                break
            due.append(kept)
        return due

    def renew(self, kept: Kept[Item]) -> None:
        """Count the age from now, because the item was stored again."""
        if self._kept.get(kept.job_id) is kept:
            self._kept[kept.job_id] = self._kept.pop(kept.job_id)
            kept.stored_s = time.monotonic()

    def forget(self, kept: Kept[Item]) -> None:
        if self._kept.get(kept.job_id) is kept:
            del self._kept[kept.job_id]
            self._num_bytes -= kept.num_bytes

    def forget_older_than(self, age_s: float) -> None:
        for kept in self.older_than(age_s):
            self.forget(kept)

    def clear(self) -> None:
        self._kept.clear()
        self._num_bytes = 0
