"""Keeps worker processes alive: one per GPU, or as many as asked for on a CPU.

A worker that ends is started again after a pause that doubles while it keeps failing. One that reports a
wrong setting or checkpoint is not: the same would happen again. Workers watch a pipe from here, so none
outlives the supervisor however it dies. Knows processes and exit codes; nothing of models or queues.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from telemetry.logging import get_logger
from workers import exit_codes

logger = get_logger("workers.supervisor")

COMMAND = (sys.executable, "-m", "workers")
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A worker that lived this long starts again at once, and its pauses begin anew."""
POLL_S = 0.1
FAULT_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)
"""A fault inside the process, so its batch may be the cause. SIGKILL comes from outside and says nothing,
unless the kernel sent it for want of memory."""
OOM_POLL_S = 1.0


def worker_devices(device: str, num_workers: int | None) -> list[str]:
    """The device of each worker: one per GPU unless a number is given; several share a GPU in turn.

    `device` is auto, cpu, cuda (all visible devices) or cuda:N.
    """
    gpus = [] if device == "cpu" else [f"cuda:{index}" for index in range(visible_gpus())]
    if device in ("auto", "cuda") and gpus:
        return [gpus[index % len(gpus)] for index in range(num_workers or len(gpus))]
    return [device] * (num_workers or 1)


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """NVIDIA devices that a process started here would see, without loading torch to ask."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = sum(1 for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    if chosen is None:
        return present
    return min(present, len([name for name in chosen.split(",") if name.strip() not in ("", "-1")]))


def out_of_memory_kills(statistics: Path = Path("/proc/vmstat")) -> int:
    """Processes that the kernel has killed for want of memory since it started; 0 where it does not say."""
    try:
        lines = statistics.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@dataclass
class _Slot:
    """One place for a worker process. Owned by the supervisor's thread."""

    index: int
    environment: Mapping[str, str]
    worker_id: str = ""
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restart_at_s: float = 0.0
    failures: int = 0
    closed: bool = False
    """No further restarts: drained on its own accord or misconfigured."""


@dataclass
class Supervisor:
    """`environments` has the variables of each worker on top of this process's own."""

    environments: Sequence[Mapping[str, str]]
    stop_grace_s: float = 40.0
    """From SIGTERM to SIGKILL; longer than a worker's own drain."""
    command: Sequence[str] = COMMAND
    on_crash: Callable[[str, str], None] | None = None
    """Told the id and the reason of a worker that died of a fault it could not report itself."""
    _slots: list[_Slot] = field(init=False)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)
    _oom_kills: tuple[int, int] = (0, 0)
    """The last two readings, so that a kill is compared with a count from before it."""

    def __post_init__(self) -> None:
        self._slots = [_Slot(index, environment) for index, environment in enumerate(self.environments)]
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._oom_kills = (out_of_memory_kills(), out_of_memory_kills())

    def start(self) -> None:
        for slot in self._slots:
            self._spawn(slot)
        self._thread.start()

    def stop(self) -> None:
        """Ask every worker to drain, wait, then kill what is left. Safe to call twice."""
        self._stopping.set()
        self._thread.join()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until stopped, or until no worker is left that could run. False: the time is over."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def request_stop(self) -> None:
        """`stop` without waiting, for signal handlers."""
        self._stopping.set()

    @property
    def misconfigured(self) -> bool:
        """Some worker said that its settings or its checkpoint are wrong."""
        return any(_code(slot) == exit_codes.MISCONFIGURED for slot in self._slots)

    @property
    def pids(self) -> list[int]:
        return [slot.process.pid for slot in self._slots if slot.process and slot.process.poll() is None]

    def _run(self) -> None:
        oom_read_s = float("-inf")
        while not self._stopping.wait(POLL_S):
            for slot in self._slots:
                self._tend(slot)
            if time.monotonic() - oom_read_s > OOM_POLL_S:
                oom_read_s = time.monotonic()
                self._oom_kills = (self._oom_kills[1], out_of_memory_kills())
            if all(slot.closed for slot in self._slots):
                return
        self._end_all()

    def _tend(self, slot: _Slot) -> None:
        if slot.closed:
            return
        if slot.process is None:
            if time.monotonic() >= slot.restart_at_s:
                self._spawn(slot)
            return
        code = slot.process.poll()
        if code is None:
            return
        if code == exit_codes.MISCONFIGURED:
            logger.error("worker_misconfigured", index=slot.index)
            _close_pipe(slot.process)
            slot.closed = True
            return
        reason = self._fault(code)
        if reason is not None and self.on_crash is not None:
            self.on_crash(slot.worker_id, reason)
        lived_s = time.monotonic() - slot.started_s
        slot.failures = 0 if lived_s >= HEALTHY_AFTER_S else slot.failures + 1
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (slot.failures - 1)) if slot.failures else 0.0
        slot.restart_at_s = time.monotonic() + pause_s
        _close_pipe(slot.process)
        slot.process = None
        logger.warning(
            "worker_ended", index=slot.index, code=code, lived_s=round(lived_s, 1), restart_in_s=pause_s
        )

    def _fault(self, code: int) -> str | None:
        """Why a process that ended so may have died of its work; None: it did not, or has said so itself."""
        if -code in FAULT_SIGNALS:
            return f"the worker died of {signal.Signals(-code).name}"
        if -code == signal.SIGKILL and out_of_memory_kills() > self._oom_kills[0]:
            return "the worker was killed for want of memory"
        return None

    def _spawn(self, slot: _Slot) -> None:
        slot.started_s = time.monotonic()
        # Anew for each process: what the last one held is not this one's.
        slot.worker_id = f"{socket.gethostname()}-{slot.index}-{uuid.uuid4().hex[:8]}"
        slot.process = subprocess.Popen(
            self.command,
            env={
                **os.environ,
                **slot.environment,
                "RUDOLPH_WORKER_ID": slot.worker_id,
                "RUDOLPH_SUPERVISED": "true",
            },
            stdin=subprocess.PIPE,
            # Ctrl-C in a terminal goes to the whole group; workers are told to drain by us alone.
            start_new_session=True,
        )
        logger.info("worker_spawned", index=slot.index, pid=slot.process.pid)

    def _end_all(self) -> None:
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + self.stop_grace_s
        for process in processes:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.error("worker_killed", pid=process.pid)
                process.kill()
                process.wait()
            _close_pipe(process)


def _code(slot: _Slot) -> int | None:
    return slot.process.poll() if slot.process is not None else None


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
