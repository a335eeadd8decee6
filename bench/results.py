"""Result files: machine, versions, command, quantiles of the samples, and the load of other processes.

Reads clocks and writes files; measures nothing. Raw samples are not stored.
"""

import contextlib
import ctypes
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
DISTURBED_CORES = 0.15
"""A row is marked as disturbed if other processes kept more cores than this busy, on average."""
MEMORY_PROBE_BYTES = 512 << 20
"""Larger than any cache."""
MEMORY_PROBE_READS = 8

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """One timing."""

    seconds: float
    """Of one unit (a picture, a request, a step)."""
    other_cores: float
    """Cores that other processes, and other guests of the host, kept busy during the sample."""


def timed(
    action: Callable[[], Any],
    repeats: int,
    units: int = 1,
    *,
    warm_up: bool = True,
    no_repeat_over_s: float = math.inf,
) -> list[Sample]:
    """Time an action that makes `units` units; return a sample for each counted run.

    With `warm_up` the first run does not count. A run longer than `no_repeat_over_s` counts alone, without
    warm-up and repetition.
    """
    samples: list[Sample] = []
    for number in range(repeats + warm_up):
        others, start = _other_ticks(), time.perf_counter()
        action()
        spent = time.perf_counter() - start
        cores = (_other_ticks() - others) / _TICKS_PER_S / spent
        if number or not warm_up or spent > no_repeat_over_s:
            samples.append(Sample(spent / units, max(0.0, cores)))
        if spent > no_repeat_over_s:
            break
    return samples


def median(samples: list[Sample]) -> float:
    """Return the median of the seconds."""
    return statistics.median(sample.seconds for sample in samples)


def is_disturbed(samples: list[Sample]) -> bool:
    """Return whether other processes used the processor during these samples."""
    return statistics.median(sample.other_cores for sample in samples) > DISTURBED_CORES


def quantiles(values: Sequence[float], digits: int = 7) -> dict[str, float]:
    """Return minimum, 10th, 50th and 90th percentile, maximum and number of values."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], digits)

    p50 = round(statistics.median(ordered), digits)
    return {"min": at(0), "p10": at(0.1), "p50": p50, "p90": at(0.9), "max": at(1), "n": len(ordered)}


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Return what a result file stores of samples: quantiles of the seconds, and the load of others."""
    if not samples:
        return {}
    other_cores = statistics.median(sample.other_cores for sample in samples)
    return {
        "seconds": quantiles([sample.seconds for sample in samples]),
        "other_cores": round(other_cores, 3),
    }


def memory_speed() -> float:
    """Return the bytes per second that all threads together read from memory at best."""
    numbers = torch.ones(MEMORY_PROBE_BYTES // 4)
    seconds = min(sample.seconds for sample in timed(numbers.sum, MEMORY_PROBE_READS))
    return MEMORY_PROBE_BYTES / seconds


def document(**more: Any) -> dict[str, Any]:
    """Return the head of a new result file, with the fields of `more`."""
    return {
        "command": "python -m bench " + " ".join(sys.argv[1:]).strip(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES,
            "system": platform.system(),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pillow": version("pillow"),
        },
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        **more,
    }


def save(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read a result file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as information:
        for line in information:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


# Memory of this process -----------------------------------------------------------------------------------


def resident_bytes() -> int:
    """Return the memory of this process, after freed blocks were returned to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * _PAGE_BYTES


def reset_peak() -> None:
    """Reset the peak that `peak_bytes` returns."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_bytes() -> int:
    """Return the largest memory of this process since `reset_peak`."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def _other_ticks() -> int:
    """Return the clock ticks that all cores spent outside this process and its ended children."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, interrupts, soft, stolen = (int(field) for field in fields)
    own = os.times()
    mine = own.user + own.system + own.children_user + own.children_system
    return user + nice + system + interrupts + soft + stolen - round(mine * _TICKS_PER_S)
