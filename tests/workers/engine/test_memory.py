"""A device that is too small gets fewer slots at start, and says so."""

import logging

import pytest
import torch

from workers.engine.memory import MIN_SLOTS, build_what_fits, fewer_slots


def test_what_fits_is_built_as_asked():
    assert build_what_fits(lambda slots: f"{slots} slots", 64) == ("64 slots", 64)


def test_slots_shrink_until_they_fit_and_the_log_says_so(caplog: pytest.LogCaptureFixture):
    tried: list[int] = []

    def build(num_slots: int) -> int:
        tried.append(num_slots)
        if num_slots > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return num_slots

    with caplog.at_level(logging.WARNING):
        assert build_what_fits(build, 100) == (31, 31)
    assert tried == [100, 75, 56, 42, 31]
    assert "100 slots do not fit the device's memory, trying 75: CUDA out of memory" in caplog.text
    assert caplog.messages[-1] == "31 of 100 slots fit the device's memory"


def test_a_device_that_holds_nothing_is_an_error():
    tried: list[int] = []

    def build(num_slots: int) -> None:
        tried.append(num_slots)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        build_what_fits(build, 5)
    assert tried == [5, 3, 2]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def build(num_slots: int) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        build_what_fits(build, 64)


def test_there_is_always_a_smaller_number_down_to_the_least():
    slots = 300
    while slots > MIN_SLOTS:
        assert MIN_SLOTS <= fewer_slots(slots) < slots
        slots = fewer_slots(slots)
