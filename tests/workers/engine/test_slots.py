"""Slots: who holds what, and what is kept for the next one."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from workers.engine.slots import Slots


def test_new_content_must_be_computed() -> None:
    place = Slots(2).take("a")
    assert not place.is_ready
    assert place.source is None


def test_shared_content_is_computed_once() -> None:
    slots = Slots(2)
    first, second = slots.share("a"), slots.share("a")
    assert first.slot == second.slot
    assert second.is_ready
    assert slots.num_free == 1


def test_shared_slot_is_free_when_its_last_reader_leaves() -> None:
    slots = Slots(1)
    slot = slots.share("a").slot
    slots.share("a")
    slots.release(slot)
    assert slots.num_free == 0
    slots.release(slot)
    assert slots.num_free == 1


def test_content_is_copied_from_a_slot_that_is_in_use() -> None:
    slots = Slots(2)
    first = slots.take("a")
    second = slots.take("a")
    assert second.slot != first.slot
    assert second.source == first.slot


def test_content_of_a_left_slot_waits_for_the_next_of_its_kind() -> None:
    slots = Slots(2)
    slot = slots.take("a").slot
    slots.release(slot)
    place = slots.take("a")
    assert (place.slot, place.is_ready) == (slot, True)


def test_empty_slots_are_taken_before_kept_content() -> None:
    slots = Slots(2)
    slots.release(slots.take("a").slot)
    slots.take("b")
    assert slots.holds("a")
    slots.take("c")
    assert not slots.holds("a")


def test_content_that_was_left_longest_ago_goes_first() -> None:
    slots = Slots(2)
    old, new = slots.take("old").slot, slots.take("new").slot
    slots.release(old)
    slots.release(new)
    slots.take("other")
    assert not slots.holds("old")
    assert slots.holds("new")


def test_forgotten_content_is_computed_anew() -> None:
    slots = Slots(2)
    slot = slots.take("a").slot
    slots.invalidate(slot)
    slots.release(slot)
    assert not slots.take("a").is_ready


def test_slot_without_content_is_ready() -> None:
    assert Slots(1).take().is_ready


def test_full_slots_refuse() -> None:
    slots = Slots(1)
    slots.take("a")
    assert not slots.can_share("b")
    with pytest.raises(IndexError):
        slots.take("b")


def test_free_slot_cannot_be_released() -> None:
    with pytest.raises(ValueError, match="free already"):
        Slots(1).release(0)


class SlotsMachine(RuleBasedStateMachine):
    """Against a model that remembers which content was last put into each slot."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(4)
        self.users = [0] * 4
        self.contents: list[str | None] = [None] * 4

    @rule(target=taken, tag=st.sampled_from("abcdef"), shared=st.booleans())
    def take(self, tag: str, shared: bool) -> int | None:
        if not (self.slots.can_share(tag) if shared else self.slots.num_free):
            return None
        place = self.slots.share(tag) if shared else self.slots.take(tag)
        if not shared:
            assert not self.users[place.slot]
        if place.is_ready:
            assert self.contents[place.slot] == tag
        elif place.source is not None:
            assert self.contents[place.source] == tag
        self.contents[place.slot] = tag
        self.users[place.slot] += 1
        return place.slot

    @rule(slot=consumes(taken))
    def release(self, slot: int | None) -> None:
        if slot is not None:
            self.slots.release(slot)
            self.users[slot] -= 1

    @rule(slot=taken)
    def invalidate(self, slot: int | None) -> None:
        if slot is not None:
            self.slots.invalidate(slot)
            self.contents[slot] = None

    @invariant()
    def free_slots_are_those_without_users(self) -> None:
        assert self.slots.num_free == sum(not users for users in self.users)
        for tag in "abcdef":
            assert self.slots.holds(tag) == (tag in self.contents)


SlotsMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
test_slots_agree_with_their_model = SlotsMachine.TestCase
