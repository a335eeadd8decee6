"""Exit codes of a worker process, after sysexits.h; the supervisor decides by them."""

DRAINED = 0
CRASHED = 70
"""The engine is broken; the jobs it held were reported and run again elsewhere, alone."""
HUNG = 75
"""A step took longer than the watchdog allows."""
MISCONFIGURED = 78
"""A restart would fail in the same way: a wrong setting or checkpoint."""
