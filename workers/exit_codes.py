"""Exit codes of a worker process, after sysexits.h. They decide whether the supervisor restarts it."""

from telemetry import misconfiguration

DRAINED = 0
RETIRED = 3
"""Drained by `rudolph workers drain`: the supervisor does not start another process."""
UNAVAILABLE = 69
"""Another process has the GPU or its memory: a later start may succeed (EX_UNAVAILABLE)."""
CRASHED = 70
"""The engine failed. The jobs that it held were reported and run again elsewhere, each alone."""
HUNG = 75
"""A step took longer than the watchdog allows."""
MISCONFIGURED = misconfiguration.MISCONFIGURED
"""A wrong setting or checkpoint, or a device that cannot run the model: a restart would fail again."""

_REASONS = {UNAVAILABLE: "unavailable", CRASHED: "crashed", HUNG: "hung"}


def reason_of(code: int) -> str:
    """Return why a process ended, in a word for metrics. A negative code is a signal."""
    return "killed" if code < 0 else _REASONS.get(code, "exited")
