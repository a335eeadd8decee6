"""What every measurement on a processor keeps: machine, versions, command, raw samples, who else was busy.

Knows clocks and files; measures nothing itself.
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
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
DISTURBED_CORES = 0.15
"""Other processes took so many cores, on average, while a sample was taken: it is marked in the table."""
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
    """Cores that other processes, and other guests of the host, kept busy meanwhile."""


def timed(
    action: Callable[[], Any],
    repeats: int,
    units: int = 1,
    *,
    warm_up: bool = True,
    patience_s: float = math.inf,
) -> list[Sample]:
    """Samples of an action that makes `units` units.

    With `warm_up` the first run does not count. A run that takes longer than `patience_s` needs none and is
    not repeated: it counts alone.
    """
    samples: list[Sample] = []
    for number in range(repeats + warm_up):
        others, start = _other_ticks(), time.perf_counter()
        action()
        spent = time.perf_counter() - start
        cores = (_other_ticks() - others) / _TICKS_PER_S / spent
        if number or not warm_up or spent > patience_s:
            samples.append(Sample(spent / units, max(0.0, cores)))
        if spent > patience_s:
            break
    return samples


def median(samples: list[Sample]) -> float:
    """Of the seconds."""
    return statistics.median(sample.seconds for sample in samples)


def is_disturbed(samples: list[Sample]) -> bool:
    """Whether the figure of these samples had to share the processor."""
    return statistics.median(sample.other_cores for sample in samples) > DISTURBED_CORES


def as_json(samples: list[Sample]) -> list[dict[str, float]]:
    return [
        {"seconds": round(sample.seconds, 7), "other_cores": round(sample.other_cores, 3)}
        for sample in samples
    ]


def from_json(samples: list[dict[str, float]]) -> list[Sample]:
    return [Sample(sample["seconds"], sample["other_cores"]) for sample in samples]


def memory_speed() -> float:
    """Bytes a second that all threads together read from memory at best."""
    numbers = torch.ones(MEMORY_PROBE_BYTES // 4)
    seconds = min(sample.seconds for sample in timed(numbers.sum, MEMORY_PROBE_READS))
    return MEMORY_PROBE_BYTES / seconds


def document(**more: Any) -> dict[str, Any]:
    """A new result file's head, and `more`."""
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
    """A kept result file."""
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
    """Memory that this process holds now, freed blocks given back first."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * _PAGE_BYTES


def forget_peak() -> None:
    """Let `peak_bytes` begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_bytes() -> int:
    """The most that this process has held since `forget_peak`."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def _other_ticks() -> int:
    """Clock ticks that all cores spent on anything but this process and the children it waited for."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, interrupts, soft, stolen = (int(field) for field in fields)
    own = os.times()
    mine = own.user + own.system + own.children_user + own.children_system
    return user + nice + system + interrupts + soft + stolen - round(mine * _TICKS_PER_S)
