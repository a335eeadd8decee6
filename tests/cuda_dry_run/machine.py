"""A CUDA device that computes nothing: what the host gives it, and where the host waits for it.

Tensors on it are fake: they have a shape, a dtype and a device. A stream counts its work; work is done only
when the host waits for it. So a wait is counted only where a real host would have to wait.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

ROOMS = ("/model/", "/workers/")
"""Files of the product, for the place of a wait."""


class IllegalInCaptureError(RuntimeError):
    """The host waits, or copies from pageable memory, while a graph is captured."""


@dataclass(frozen=True)
class Wait:
    """The host waited for the device."""

    what: str
    place: str
    replays_behind: int
    """Graphs of decode steps and others that were launched after what the host waited for."""


@dataclass
class Log:
    """What the host did since the last `take`."""

    launches: Counter[str] = field(default_factory=Counter[str])
    """Work that was launched one by one, by name; without replays and without copies to the host."""
    replays: int = 0
    uploads: list[str] = field(default_factory=list[str])
    """Places of copies from the host."""
    downloads: int = 0
    waits: list[Wait] = field(default_factory=list[Wait])
    recorded_on: set[torch.device] = field(default_factory=set[torch.device])
    """Devices of the streams that events were recorded on."""


class Machine:
    """All devices of a host. Device 0 is the current one, as in a process that never chose one."""

    def __init__(self) -> None:
        self.log = Log()
        self.capturing: Counter[str] | None = None
        self.graphs: list[Graph] = []
        self.bytes = 0
        self.peak_bytes = 0
        self.attention_shapes: set[tuple[object, ...]] = set()
        self.unaligned: set[str] = set()
        """Arguments of kernels for which a kernel is compiled again."""
        self._streams: dict[int | None, Stream] = {}
        self._entered: list[Stream] = []

    def take(self) -> Log:
        """Return the log, and begin a new one."""
        log, self.log = self.log, Log()
        return log

    def current_stream(self, device: torch.device | None = None) -> "Stream":
        index = 0 if device is None else device.index or 0
        if self._entered and self._entered[-1].device.index == index:
            return self._entered[-1]
        return self._streams.setdefault(index, Stream(self, torch.device("cuda", index)))

    @contextmanager
    def entered(self, stream: "Stream") -> Iterator[None]:
        self._entered.append(stream)
        try:
            yield
        finally:
            self._entered.pop()

    def launch(self, name: str, device: torch.device) -> None:
        """Take work of one kernel."""
        if self.capturing is not None:
            self.capturing[name] += 1
            return
        self.log.launches[name] += 1
        self.current_stream(device).launched += 1

    def upload(self, device: torch.device, *, waits: bool) -> None:
        """Take a copy from the host; from pageable memory the host waits for all work before it."""
        if self.capturing is not None:
            raise IllegalInCaptureError(f"a copy from the host at {place()}")
        self.log.uploads.append(place())
        stream = self.current_stream(device)
        stream.launched += 1
        if waits:
            self.wait("copy from pageable memory", stream, stream.launched)

    def download(self, device: torch.device, *, waits: bool) -> None:
        if self.capturing is not None:
            raise IllegalInCaptureError(f"a copy to the host at {place()}")
        self.log.downloads += 1
        stream = self.current_stream(device)
        stream.launched += 1
        if waits:
            self.wait("copy to pageable memory", stream, stream.launched)

    def wait(self, what: str, stream: "Stream", until: int) -> None:
        """Let the host wait for the first `until` works of a stream."""
        if self.capturing is not None:
            raise IllegalInCaptureError(f"{what} at {place()}")
        if stream.done < until:
            behind = sum(replay > until for replay in stream.replays)
            self.log.waits.append(Wait(what, place(), behind))
            stream.done = until


class Stream:
    """Work in order; `launched` and `done` count it."""

    def __init__(self, machine: Machine, device: torch.device, priority: int = 0) -> None:
        self.machine, self.device, self.priority = machine, device, priority
        self.launched = self.done = 0
        self.replays: list[int] = []
        """Numbers of the works that are replays."""

    def wait_stream(self, other: "Stream") -> None:
        """Order the device; the host does not wait."""

    def synchronize(self) -> None:
        self.machine.wait("Stream.synchronize", self, self.launched)


class Event:
    """A point in a stream."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._at: tuple[Stream, int] | None = None

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or self._machine.current_stream()
        self._machine.log.recorded_on.add(stream.device)
        self._at = (stream, stream.launched)

    def synchronize(self) -> None:
        if self._at is not None:
            self._machine.wait("Event.synchronize", *self._at)


class Graph:
    """Captured work; `nodes` counts it by name."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.nodes: Counter[str] = Counter()
        self.priority = 0
        self.device = torch.device("cuda", 0)

    def capture_begin(self, **_: object) -> None:
        stream = self._machine._entered[-1]
        self.priority, self.device = stream.priority, stream.device
        self._machine.capturing = self.nodes

    def capture_end(self) -> None:
        self._machine.capturing = None
        self._machine.graphs.append(self)

    def replay(self) -> None:
        self._machine.log.replays += 1
        stream = self._machine.current_stream(self.device)
        stream.launched += 1
        stream.replays.append(stream.launched)


def place() -> str:
    """Return file and line of the product's code that runs."""
    frame = sys._getframe(1)
    while frame is not None:
        if (
            any(room in frame.f_code.co_filename for room in ROOMS)
            and "/.venv/" not in frame.f_code.co_filename
        ):
            return f"{'/'.join(frame.f_code.co_filename.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"
