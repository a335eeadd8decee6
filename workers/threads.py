"""The number of threads of one worker, from the cores that this process may use."""

import os
from pathlib import Path

import psutil

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def physical_cores() -> int:
    """Return the physical cores of this process, at least 1, by its affinity and its container's quota."""
    logical = psutil.cpu_count(logical=True) or 1
    physical = psutil.cpu_count(logical=False) or logical
    if hasattr(os, "sched_getaffinity"):
        # Two hardware threads of one core count once.
        physical = min(physical, max(1, len(os.sched_getaffinity(0)) * physical // logical))
    return max(1, min(physical, _quota(CGROUP_QUOTA) or physical))


def threads_per_worker(num_workers: int) -> int:
    """Return the intra-operation threads of each of `num_workers` workers on this machine."""
    return max(1, physical_cores() // max(1, num_workers))


def _quota(file: Path) -> int | None:
    """Return the cores of a cgroup v2 limit, rounded down; None if there is no limit."""
    try:
        quota, period = file.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))
