"""Slots: their users, and the content that each holds.

Numbers and tags; the tensors are the backend's. A slot keeps its content after its last user has released it,
until the slot is needed: the next sequence of the same prompt finds its prefix there.
"""

from collections.abc import Hashable
from dataclasses import dataclass

Tag = Hashable
"""Names a content: equal tags mean equal keys and values at the first positions of the slot."""


@dataclass(frozen=True)
class Assignment:
    """A slot for a sequence, and how the content that its tag names gets there."""

    slot: int
    is_ready: bool
    """Whether the slot holds the content already."""
    source: int | None = None
    """Another slot with the content, to copy from; None: it must be computed."""


class Slots:
    """A fixed number of slots with reference counts and tagged contents."""

    def __init__(self, num_slots: int) -> None:
        self._users = [0] * num_slots
        self._tags: list[Tag | None] = [None] * num_slots
        # Free slots, the one that has been free longest first.
        self._free: dict[int, None] = dict.fromkeys(range(num_slots))
        # In the order of assignment: the first has the content computed before the others copy it.
        self._holders: dict[Tag, dict[int, None]] = {}

    @property
    def total(self) -> int:
        return len(self._users)

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return self.total - self.num_free

    def holds(self, tag: Tag) -> bool:
        """Whether any slot holds the content, used or free."""
        return bool(self._holders.get(tag))

    def can_share(self, tag: Tag) -> bool:
        return self.holds(tag) or self.num_free > 0

    def share(self, tag: Tag) -> Assignment:
        """Assign the slot of this content to one more reader. IndexError if it needs a free slot in vain."""
        for slot in self._holders.get(tag, ()):
            self._use(slot)
            return Assignment(slot, is_ready=True)
        slot = self._oldest_free(tag)
        self._assign(slot, tag)
        return Assignment(slot, is_ready=False)

    def take(self, tag: Tag | None = None) -> Assignment:
        """Assign a slot to one user and record its content (None: empty). IndexError if all are used."""
        holders = {} if tag is None else self._holders.get(tag, {})
        for slot in holders:
            if not self._users[slot]:
                self._use(slot)
                return Assignment(slot, is_ready=True)
        source = next(iter(holders), None)
        slot = self._oldest_free(tag)
        self._assign(slot, tag)
        return Assignment(slot, is_ready=tag is None, source=source)

    def release(self, slot: int) -> None:
        """Remove one user. ValueError if the slot has none."""
        if not self._users[slot]:
            raise ValueError(f"Slot {slot} is free already.")
        self._users[slot] -= 1
        if not self._users[slot]:
            self._free[slot] = None

    def invalidate(self, slot: int) -> None:
        """Drop the tag: the content was not written, or was overwritten."""
        tag = self._tags[slot]
        if tag is not None:
            self._tags[slot] = None
            del self._holders[tag][slot]
            if not self._holders[tag]:
                del self._holders[tag]

    def _oldest_free(self, tag: Tag | None) -> int:
        # Slots without content are used first.
        for slot in self._free:
            if self._tags[slot] is None:
                return slot
        for slot in self._free:
            return slot
        raise IndexError(f"There is no free slot for {tag!r}.")

    def _use(self, slot: int) -> None:
        self._users[slot] += 1
        self._free.pop(slot, None)

    def _assign(self, slot: int, tag: Tag | None) -> None:
        self.invalidate(slot)
        if tag is not None:
            self._tags[slot] = tag
            self._holders.setdefault(tag, {})[slot] = None
        self._use(slot)
