"""Health checks beside an attack: how long the event loop of a server was busy with something else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.wire import Wire, request

TIMEOUT_S = 60.0


@contextmanager
def probing(port: int, pid: int) -> Iterator[list[float]]:
    """Yield the seconds of health checks, one after the other, that run until the block ends.

    Time that the server or the probe waited for a CPU is left out: other processes take it, not the server.
    """
    times_s: list[float] = []
    done = threading.Event()
    faults: list[BaseException] = []

    def probe() -> None:
        try:
            with Wire(port, timeout_s=TIMEOUT_S) as wire:
                while not done.is_set():
                    started_s, waited_s = (
                        time.monotonic(),
                        waited_for_cpu_s("self") + waited_for_cpu_s(str(pid)),
                    )
                    wire.send(request("probe", "/health/live", method="GET"))
                    assert wire.reply().status == 200
                    waited_s = waited_for_cpu_s("self") + waited_for_cpu_s(str(pid)) - waited_s
                    times_s.append(max(time.monotonic() - started_s - waited_s, 0.0))
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        _wait_for_more(times_s, thread)
        yield times_s
        _wait_for_more(times_s, thread)
    finally:
        done.set()
        thread.join(TIMEOUT_S)
    if faults:
        raise faults[0]


def _wait_for_more(times_s: list[float], thread: threading.Thread) -> None:
    seen = len(times_s)
    while len(times_s) < seen + 2 and thread.is_alive():
        time.sleep(0.005)


def waited_for_cpu_s(process: str) -> float:
    """Seconds that this thread, or the main thread of a process, waited for a CPU; 0 where unknown."""
    place = "thread-self" if process == "self" else process
    with suppress(OSError):
        return int(Path(f"/proc/{place}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    return 0.0
