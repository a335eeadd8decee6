"""Copies to the host are complete when they are read, on every GPU. torch.cuda is replaced by a recorder."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from model.backends.host_copy import HostCopy, Mark

CURRENT = torch.device("cuda:0")


class _OnSecondGpu(Tensor):
    """A host tensor that reports another device than the current one."""

    is_cuda = True
    device = torch.device("cuda:1")


class _Stream:
    def __init__(self, device: torch.device) -> None:
        self.device = device


class _Event:
    """As torch's: without a stream, it is recorded on the current stream of the current device."""

    recorded: ClassVar[list[torch.device]] = []

    def __init__(self, *, blocking: bool = False) -> None:
        self.blocking = blocking

    def record(self, stream: _Stream | None = None) -> None:
        self.recorded.append(CURRENT if stream is None else stream.device)

    def synchronize(self) -> None:
        pass


def _pageable(size: torch.Size, *, dtype: torch.dtype, pin_memory: bool) -> Tensor:
    assert pin_memory
    return torch.zeros(size, dtype=dtype)


def test_event_is_recorded_on_the_tensors_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Event, "recorded", [])
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch, "empty", _pageable)
    tensor = torch.tensor([3, 1, 4]).as_subclass(_OnSecondGpu)
    assert HostCopy(tensor).get().tolist() == [3, 1, 4]
    assert _Event.recorded == [torch.device("cuda:1")]


def test_a_mark_belongs_to_its_device_and_lets_the_host_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[_Event] = []

    def event(*, blocking: bool = False) -> _Event:
        events.append(_Event(blocking=blocking))
        return events[-1]

    monkeypatch.setattr(_Event, "recorded", [])
    monkeypatch.setattr(torch.cuda, "Event", event)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    Mark(torch.device("cuda:1")).wait()
    assert _Event.recorded == [torch.device("cuda:1")]
    assert [event.blocking for event in events] == [True]


def test_a_cpu_has_nothing_to_wait_for() -> None:
    Mark(torch.device("cpu")).wait()
