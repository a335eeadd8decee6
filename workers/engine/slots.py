"""Who holds which slot, and what lies in it.

Knows numbers and tags; the tensors behind the slots are the runner's. A slot keeps its content after its last
user has left, until somebody else needs the place: so the next row of the same prompt finds its prefix there.
"""

from collections.abc import Hashable
from dataclasses import dataclass

Tag = Hashable
"""Names a content: equal tags, equal keys and values at the first positions of the slot."""


@dataclass(frozen=True)
class Place:
    """A slot for a row, and how the content that its tag names gets there."""

    slot: int
    is_ready: bool
    """The content lies there already."""
    source: int | None = None
    """Another slot that holds the content, to copy from; None: it must be computed."""


class Slots:
    """A fixed number of slots with reference counts and tagged contents."""

    def __init__(self, num_slots: int) -> None:
        self._users = [0] * num_slots
        self._tags: list[Tag | None] = [None] * num_slots
        # Free slots, the one that has been free for longest first.
        self._free: dict[int, None] = dict.fromkeys(range(num_slots))
        # In the order in which they got it: the first has it computed when others are still to copy it.
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
        """Whether the content lies in any slot, used or free."""
        return bool(self._holders.get(tag))

    def can_share(self, tag: Tag) -> bool:
        return self.holds(tag) or self.num_free > 0

    def share(self, tag: Tag) -> Place:
        """The slot of this content for one more reader. IndexError if it needs a free slot and none is."""
        for slot in self._holders.get(tag, ()):
            self._take(slot)
            return Place(slot, is_ready=True)
        slot = self._oldest_free(tag)
        self._give(slot, tag)
        return Place(slot, is_ready=False)

    def take(self, tag: Tag | None = None) -> Place:
        """A slot of one's own that shall begin with this content (None: with nothing). IndexError if full."""
        holders = {} if tag is None else self._holders.get(tag, {})
        for slot in holders:
            if not self._users[slot]:
                self._take(slot)
                return Place(slot, is_ready=True)
        source = next(iter(holders), None)
        slot = self._oldest_free(tag)
        self._give(slot, tag)
        return Place(slot, is_ready=tag is None, source=source)

    def release(self, slot: int) -> None:
        """One user less. ValueError if the slot has none."""
        if not self._users[slot]:
            raise ValueError(f"slot {slot} is free already")
        self._users[slot] -= 1
        if not self._users[slot]:
            self._free[slot] = None

    def forget(self, slot: int) -> None:
        """The content never got there, or is no longer what the tag says."""
        tag = self._tags[slot]
        if tag is not None:
            self._tags[slot] = None
            del self._holders[tag][slot]
            if not self._holders[tag]:
                del self._holders[tag]

    def _oldest_free(self, tag: Tag | None) -> int:
        # Slots that hold nothing worth keeping go first.
        for slot in self._free:
            if self._tags[slot] is None:
                return slot
        for slot in self._free:
            return slot
        raise IndexError(f"no free slot for {tag!r}")

    def _take(self, slot: int) -> None:
        self._users[slot] += 1
        self._free.pop(slot, None)

    def _give(self, slot: int, tag: Tag | None) -> None:
        self.forget(slot)
        if tag is not None:
            self._tags[slot] = tag
            self._holders.setdefault(tag, {})[slot] = None
        self._take(slot)
