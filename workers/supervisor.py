"""Runs worker processes: one for each GPU, or a given number on a CPU.

A worker that ends is restarted after a pause that doubles with every failure. One that reports a wrong
setting or checkpoint is not restarted. Workers read a pipe from the supervisor, so they end with it. Knows
processes and exit codes; knows no models and no queues.
"""

import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from telemetry.logging import get_logger
from workers import exit_codes
from workers.child_process import PYTHON, import_path

logger = get_logger("workers.supervisor")

COMMAND = (*PYTHON, "-m", "workers")
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A worker that ran this long is restarted at once, and its failures are forgotten."""
POLL_S = 0.1
FAULT_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)
"""Signals of faults that the batch of the process may have caused. SIGKILL is one of them only if the kernel
sent it because memory ran out."""
OOM_POLL_S = 1.0


def out_of_memory_kills(statistics: Path = Path("/proc/vmstat")) -> int:
    """Return how many processes the kernel has killed because memory ran out; 0 where it has no count."""
    try:
        lines = statistics.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@dataclass
class _Slot:
    """One worker process and its restarts. Only the supervisor's thread uses it."""

    index: int
    environment: Mapping[str, str]
    worker_id: str = ""
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restart_at_s: float = 0.0
    failures: int = 0
    closed: bool = False
    """No further restarts: the worker was misconfigured, or an operator has drained it."""


@dataclass
class Supervisor:
    """`environments` has the variables of each worker, in addition to those of this process."""

    environments: Sequence[Mapping[str, str]]
    stop_grace_s: float = 40.0
    """Seconds from SIGTERM to SIGKILL; longer than the drain of a worker."""
    command: Sequence[str] = COMMAND
    on_end: Callable[[str, str, str | None], None] | None = None
    """Called for each worker that ended unasked and is started again. It gets the worker's id, the reason in
    a word, and the fault that the worker died of without a report, if there is one."""
    _slots: list[_Slot] = field(init=False)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)
    _oom_kills: tuple[int, int] = (0, 0)
    """The last two readings, so that a kill is compared with a count from before the kill."""

    def __post_init__(self) -> None:
        self._slots = [_Slot(index, environment) for index, environment in enumerate(self.environments)]
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._oom_kills = (out_of_memory_kills(), out_of_memory_kills())

    def start(self) -> None:
        for slot in self._slots:
            self._spawn(slot)
        self._thread.start()

    def stop(self) -> None:
        """Drain all workers, wait, and kill those that are left. Safe to call twice."""
        self._stopping.set()
        self._thread.join()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until stopped, or until no worker is left to restart. Returns False after `timeout_s`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def request_stop(self) -> None:
        """Stop without waiting, for signal handlers."""
        self._stopping.set()

    @property
    def misconfigured(self) -> bool:
        """Whether a worker reported wrong settings or a wrong checkpoint."""
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
        if code in (exit_codes.MISCONFIGURED, exit_codes.RETIRED):
            if code == exit_codes.RETIRED:
                logger.info("worker_retired", index=slot.index)
            else:
                logger.error("worker_misconfigured", index=slot.index)
            _close_pipe(slot.process)
            slot.closed = True
            return
        if self.on_end is not None:
            self.on_end(slot.worker_id, exit_codes.reason_of(code), self._fault(code))
        lived_s = time.monotonic() - slot.started_s
        # A worker that could not start may have taken long to find out; it was not healthy.
        is_healthy = lived_s >= HEALTHY_AFTER_S and code != exit_codes.UNAVAILABLE
        slot.failures = 0 if is_healthy else slot.failures + 1
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (slot.failures - 1)) if slot.failures else 0.0
        slot.restart_at_s = time.monotonic() + pause_s
        _close_pipe(slot.process)
        slot.process = None
        logger.warning(
            "worker_ended", index=slot.index, code=code, lived_s=round(lived_s, 1), restart_in_s=pause_s
        )

    def _fault(self, code: int) -> str | None:
        """Return why a process may have died of its batch; None if it did not, or has reported it itself."""
        if -code in FAULT_SIGNALS:
            return f"The worker died of {signal.Signals(-code).name}."
        if -code == signal.SIGKILL and out_of_memory_kills() > self._oom_kills[0]:
            return "The kernel killed the worker because memory ran out."
        return None

    def _spawn(self, slot: _Slot) -> None:
        slot.started_s = time.monotonic()
        # A new id for each process: the queue keeps the jobs of the last process under its id.
        slot.worker_id = f"{socket.gethostname()}-{slot.index}-{uuid.uuid4().hex[:8]}"
        slot.process = subprocess.Popen(
            self.command,
            env={
                **os.environ,
                **import_path(),
                **slot.environment,
                "RUDOLPH_WORKER_ID": slot.worker_id,
                "RUDOLPH_SUPERVISED": "true",
            },
            stdin=subprocess.PIPE,
            # Ctrl-C in a terminal goes to the whole group, but only the supervisor drains workers.
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
