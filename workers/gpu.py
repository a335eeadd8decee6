"""The GPU of this process: selects it, and says why torch cannot use it. Knows no model."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from prometheus_client import CollectorRegistry

from model.backends.cuda.memory import is_out_of_memory
from telemetry.logging import get_logger
from telemetry.nvml import open_gpu
from workers.devices import visible_gpus

logger = get_logger("workers.gpu")

DRIVER_FILE = Path("/proc/driver/nvidia/version")
MIN_DRIVERS = {12: 525, 13: 580}
"""Oldest driver of each CUDA version (NVIDIA, CUDA compatibility: minor version compatibility)."""
PASSING = re.compile(
    # cudaErrorDevicesUnavailable, cudaErrorSystemNotReady, cudaErrorMps…: another process has the GPU, or a
    # service of the host has not started yet.
    r"busy or unavailable|already in use|system not yet initialized|MPS (?:client|server)|"
    r"resources required to support device connections have been exhausted",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GpuFault:
    """Why a GPU cannot be used."""

    message: str
    """Whole sentences with a remedy."""
    is_passing: bool = False
    """Another process has the GPU: a later try may succeed."""


class GpuError(RuntimeError):
    """A GPU that was requested by name cannot be used."""

    def __init__(self, fault: GpuFault) -> None:
        super().__init__(fault.message)
        self.is_passing = fault.is_passing


def use_device(name: str, *, share: int = 1) -> torch.device:
    """Return the device and make it this thread's current one.

    `name` is auto, cpu, cuda or cuda:N; auto is the first GPU that torch can use, else the CPU, with one
    warning if there is a GPU. `share`: this process may use 1/share of the GPU's memory. Raises GpuError if
    the GPU cannot be used, for auto only if a later try may succeed.
    """
    if name == "cpu":
        return torch.device("cpu")
    index = torch.device("cuda" if name == "auto" else name).index or 0
    fault = find_gpu_fault(index)
    if fault is None:
        device = torch.device("cuda", index)
        # Pinned memory, events and streams that name no device belong to the current one.
        torch.cuda.set_device(device)
        if share > 1:
            torch.cuda.set_per_process_memory_fraction(1 / share, device)
        return device
    if name == "auto" and not fault.is_passing:
        if visible_gpus():
            logger.warning(
                "gpu_not_usable", message=f"{fault.message} The model runs on the CPU, which is slower."
            )
        return torch.device("cpu")
    raise GpuError(fault)


def monitor_gpu(registry: CollectorRegistry, device: torch.device) -> None:
    """Add the state of the whole GPU to the metrics, where the driver gives it. Nothing for other devices."""
    if device.type != "cuda":
        return
    # By UUID, because CUDA_VISIBLE_DEVICES renumbers the GPUs for this process but not for the driver.
    monitor = open_gpu(str(torch.cuda.get_device_properties(device).uuid))
    if monitor is not None:
        registry.register(monitor)
        monitor.start()


def find_gpu_fault(index: int = 0) -> GpuFault | None:
    """Return why torch cannot use a GPU, found by a small kernel on it; None if it can."""
    # torch states some reasons in warnings only. One of them beside ours would be one too many.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fault = _try(index, caught)
    if fault is None:
        for warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return fault


def _try(index: int, caught: list[warnings.WarningMessage]) -> GpuFault | None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count > 0:
        return GpuFault(
            f"torch {torch.__version__} finds {count} CUDA devices, and cuda:{index} is none of them. "
            "Set RUDOLPH_DEVICE to auto or cpu."
        )
    if index >= count:
        return _absent("; ".join(_first_sentence(str(warning.message)) for warning in caught))
    try:
        capability = torch.cuda.get_device_capability(index)
        if not has_code_for(capability, torch.cuda.get_arch_list()):
            return no_code_for(torch.cuda.get_device_name(index), capability)
        (torch.ones(1, device=f"cuda:{index}") + 1).item()
    except RuntimeError as error:
        return fault_of(error)
    return None


def _absent(reason: str) -> GpuFault:
    if torch.version.cuda is None:
        return GpuFault(
            f"torch {torch.__version__} is a build without CUDA. Install the CUDA build, or set "
            "RUDOLPH_DEVICE=cpu."
        )
    said = f": {reason}" if reason else ""
    remedy = old_driver() or "Check the driver with nvidia-smi, or set RUDOLPH_DEVICE=cpu."
    return GpuFault(
        f"torch {torch.__version__} finds no CUDA device{said}. {remedy}", PASSING.search(reason) is not None
    )


def fault_of(error: Exception) -> GpuFault:
    """Return the fault that an error of the CUDA runtime means."""
    text = _first_sentence(str(error))
    if is_out_of_memory(error) or PASSING.search(str(error)):
        return GpuFault(f"Another process uses the GPU: {text}. Stop it, or wait for its end.", True)
    return GpuFault(f"torch {torch.__version__} cannot use the GPU: {text}. {old_driver() or ''}".strip())


def has_code_for(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a build of torch has code for a GPU, from its list such as sm_80, sm_90a, compute_120.

    Machine code (sm) runs on its own major version from its minor version on, PTX (compute) on later ones.
    """
    for name in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name)
        if found is None:
            continue
        code = int(found[2]), int(found[3])
        if capability >= code and (found[1] == "compute" or capability[0] == code[0]):
            return True
    return not architectures


def no_code_for(name: str, capability: tuple[int, int]) -> GpuFault:
    """Return the fault of a GPU that is older, or much newer, than the build of torch."""
    numbers = sorted({int(digits) for digits in re.findall(r"_(\d+)", " ".join(torch.cuda.get_arch_list()))})
    first, last = (f"{number // 10}.{number % 10}" for number in (numbers[0], numbers[-1]))
    return GpuFault(
        f"{name} has compute capability {capability[0]}.{capability[1]}, and torch {torch.__version__} has "
        f"code for {first} to {last}. Install a build of torch for this GPU (TORCH_INDEX, see docs/gpu.md), "
        "or set RUDOLPH_DEVICE=cpu."
    )


def driver_version(file: Path = DRIVER_FILE) -> str | None:
    """Return the version of the kernel's NVIDIA driver, for example 580.65.06; None if it has none."""
    try:
        found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", file.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[1] if found else None


def old_driver(file: Path = DRIVER_FILE) -> str | None:
    """Return a sentence if the driver is too old for this build of torch, else None."""
    version, cuda = driver_version(file), torch.version.cuda
    if version is None or cuda is None:
        return None
    needed = MIN_DRIVERS.get(int(cuda.partition(".")[0]), 0)
    if int(version.partition(".")[0]) >= needed:
        return None
    return f"The NVIDIA driver {version} is too old for CUDA {cuda}: update it to {needed} or newer."


def _first_sentence(text: str) -> str:
    """The first sentence of a message of torch, whose other lines are advice for developers."""
    return text.strip().partition("\n")[0].partition(". ")[0].rstrip(".")
