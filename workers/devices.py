"""Which GPUs there are, and which of them each worker sees. Knows names only, so that torch is not loaded.

A name is what CUDA_VISIBLE_DEVICES accepts: a UUID of a GPU or of a MIG instance, or a number.
"""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_DEVICE = re.compile(r"auto|cpu|cuda(?::(\d{1,3}))?")
_UUID = re.compile(r"UUID: ((?:GPU|MIG)-[^)\s]+)")
LIST_COMMAND = ("nvidia-smi", "-L")
LIST_TIMEOUT_S = 60.0
"""A driver that keeps no state starts every GPU of the host before it answers."""


def check_device(name: str) -> str:
    """The name itself. Raises ValueError unless it is auto, cpu, cuda or cuda:N."""
    if not _DEVICE.fullmatch(name):
        raise ValueError(f"must be auto, cpu, cuda or cuda:N; got {name!r}.")
    return name


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """Names of the GPUs that a process started here would see, in the order of CUDA_VISIBLE_DEVICES.

    A GPU that is divided into MIG instances counts as its instances: CUDA shows a process one of them only.
    Without nvidia-smi the device files are counted, and the names are numbers.
    """
    listed = _listed()
    count = len(listed) or sum(1 for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and count:
        return _chosen([word.strip() for word in chosen.split(",")], count, list(listed))
    if not listed:
        return [str(index) for index in range(count)]
    return [name for gpu, instances in listed.items() for name in instances or [gpu]]


def _listed() -> dict[str, list[str]]:
    """The UUIDs of the GPUs that nvidia-smi lists, each with those of its MIG instances."""
    try:
        done = subprocess.run(
            LIST_COMMAND, capture_output=True, text=True, check=True, timeout=LIST_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, list[str]] = {}
    for uuid in _UUID.findall(done.stdout):
        if uuid.startswith("GPU-"):
            found[uuid] = []
        elif found:
            found[next(reversed(found))].append(uuid)
    return found


def _chosen(names: list[str], count: int, uuids: list[str]) -> list[str]:
    """The names that CUDA would use: one that does not exist hides those after it, a repeated one all."""
    kept: list[str] = []
    for name in names:
        if name in kept:
            return []
        if name.isdecimal():
            exists = int(name) < count
        elif name.startswith("GPU-"):
            exists = not uuids or any(uuid.startswith(name) for uuid in uuids)
        else:
            exists = name.startswith("MIG-")
        if not exists:
            break
        kept.append(name)
    return kept


def selected_gpus(device: str) -> list[str]:
    """The GPUs that `device` names: none for cpu, the N-th visible one for cuda:N, else all visible ones."""
    gpus = [] if device == "cpu" else visible_gpus()
    found = _DEVICE.fullmatch(device)
    if found and found[1]:
        # A number that is too high is left to the worker, which says how many devices there are.
        return gpus[int(found[1]) : int(found[1]) + 1]
    return gpus


def worker_devices(
    device: str, num_workers: int | None, gpus: Sequence[str], *, share: int = 1
) -> list[dict[str, str]]:
    """The variables that give each worker its device: one worker per GPU unless a number is given.

    A worker sees its own GPU only, so no library of its process can use another one. More workers than GPUs
    share them in turn; each of k workers on a GPU may use 1/k of its memory, or of the part that `share`
    leaves to this command. Without GPUs every worker gets `device`.
    """
    if not gpus:
        return [{"RUDOLPH_DEVICE": device}] * (num_workers or 1)
    chosen = [gpus[index % len(gpus)] for index in range(num_workers or len(gpus))]
    shares = Counter(chosen)
    return [
        {"RUDOLPH_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": gpu, "RUDOLPH_GPU_SHARE": str(share * shares[gpu])}
        for gpu in chosen
    ]
