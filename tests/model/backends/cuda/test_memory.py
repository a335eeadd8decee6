"""A device that is too small gets fewer slots at start, and says so."""

import logging

import pytest
import torch

from model.backends.cuda.memory import (
    MIN_HEADROOM,
    MIN_SLOTS,
    check_headroom,
    estimate_num_slots,
    fewer_slots,
    fit_num_slots,
    free_and_total,
    is_out_of_memory,
)

GIB = 1 << 30

# What the libraries say, each in its own words.
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    torch.AcceleratorError("CUDA error: out of memory"),
]
OTHERS = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"),
    RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
    MemoryError("out of memory"),
    ValueError("out of memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_a_lack_of_memory_is_known_in_the_words_of_every_library(error: Exception):
    assert is_out_of_memory(error)
    tried: list[int] = []

    def build(num_slots: int) -> None:
        tried.append(num_slots)
        if num_slots > 5:
            raise error

    assert fit_num_slots(build, 8) == 4
    assert tried == [8, 6, 4]


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_faults_are_no_lack_of_memory(error: Exception):
    """A host that is short of memory is not helped by fewer slots on the device."""
    assert not is_out_of_memory(error)


def test_the_first_attempt_is_what_fits_beside_the_work_and_the_headroom():
    free, total, slot = 24 * GIB, 24 * GIB, GIB // 10
    slots = estimate_num_slots(free, total, slot, 3 * GIB, 256)
    # The headroom is a share of this device: 1.2 GiB.
    assert slots == int((24 - 1.2 - 3) * 10)
    assert estimate_num_slots(200 * GIB, 200 * GIB, slot, 3 * GIB, 256) == 256
    assert estimate_num_slots(2 * GIB, 24 * GIB, slot, 3 * GIB, 256) == MIN_SLOTS


def test_an_estimate_is_tried_first_and_the_log_still_says_what_was_asked(caplog: pytest.LogCaptureFixture):
    tried: list[int] = []
    with caplog.at_level(logging.WARNING):
        assert fit_num_slots(tried.append, 256, first=198) == 198
    assert tried == [198]
    assert caplog.messages == ["198 of 256 slots fit the device's memory"]


def test_a_worker_that_shares_a_device_counts_on_its_own_part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 * GIB)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 0.5)
    assert free_and_total(torch.device("cuda")) == (35 * GIB, 40 * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, 80 * GIB))
    assert free_and_total(torch.device("cuda")) == (3 * GIB, 40 * GIB)


def test_memory_is_left_to_the_libraries():
    check_headroom(MIN_HEADROOM, 16 * GIB)
    with pytest.raises(torch.OutOfMemoryError, match="libraries need"):
        check_headroom(MIN_HEADROOM - 1, 16 * GIB)
    with pytest.raises(torch.OutOfMemoryError):
        check_headroom(3 * GIB, 80 * GIB)


def test_slots_that_fit_are_as_many_as_asked():
    assert fit_num_slots(lambda slots: None, 64) == 64


def test_slots_shrink_until_they_fit_and_the_log_says_so(caplog: pytest.LogCaptureFixture):
    tried: list[int] = []

    def build(num_slots: int) -> None:
        tried.append(num_slots)
        if num_slots > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    with caplog.at_level(logging.WARNING):
        assert fit_num_slots(build, 100) == 31
    assert tried == [100, 75, 56, 42, 31]
    assert "100 slots do not fit the device's memory, trying 75: CUDA out of memory" in caplog.text
    assert caplog.messages[-1] == "31 of 100 slots fit the device's memory"


def test_a_device_that_holds_nothing_is_an_error():
    tried: list[int] = []

    def build(num_slots: int) -> None:
        tried.append(num_slots)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        fit_num_slots(build, 5)
    assert tried == [5, 3, 2]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def build(num_slots: int) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        fit_num_slots(build, 64)


def test_there_is_always_a_smaller_number_down_to_the_least():
    slots = 300
    while slots > MIN_SLOTS:
        assert MIN_SLOTS <= fewer_slots(slots) < slots
        slots = fewer_slots(slots)
