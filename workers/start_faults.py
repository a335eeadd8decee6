"""What an error before the first job means: one sentence, and an exit code that says if a restart helps."""

import re
import subprocess
from dataclasses import dataclass

import torch

from model.backends import BackendError
from model.backends.cuda.memory import is_out_of_memory
from model.files.checkpoint import CheckpointError
from workers import exit_codes
from workers.gpu import PASSING, GpuError, fault_of, old_driver

GIB = 1 << 30
CONTEXT_BYTES = 2 * GIB
"""Memory of a GPU that one process may use outside torch's allocator: its context, libraries and graphs."""
HOST_MEMORY = "DefaultCPUAllocator: can't allocate memory"

KNOWN = (
    (
        r"Failed to find C compiler",
        "Triton found no C compiler. Install gcc, or name a compiler in the variable CC.",
    ),
    (
        r"libcuda\.so cannot found",
        "Triton does not find libcuda.so.1. Name its folder in the variable TRITON_LIBCUDA_PATH.",
    ),
    (
        r"no kernel image is available|invalid device function|unsupported gpu architecture",
        "This build of torch or Triton has no code for this GPU. Compute capability 7.5 is the least for the "
        "default build; see docs/gpu.md for others.",
    ),
    (
        r"driver version is insufficient|driver on your system is too old|unsupported toolchain",
        "The NVIDIA driver is too old for this build of torch. Update it, or install another build; see "
        "docs/gpu.md.",
    ),
    (
        r"system has unsupported display driver|driver/library version mismatch",
        "The NVIDIA driver's parts have different versions. Restart the host after the driver's update.",
    ),
)


@dataclass(frozen=True)
class StartFault:
    """The end of a start."""

    exit_code: int
    """MISCONFIGURED: a restart fails again. UNAVAILABLE: the supervisor tries again after a pause."""
    message: str
    is_known: bool = True
    """False for an error that this module does not know: its traceback is needed."""


def classify(error: Exception, device: torch.device | None = None, *, share: int = 1) -> StartFault:
    """Return what an error means that was raised before the first job.

    `device` is None if the device itself was not found. `share`: workers that share the GPU.
    """
    if isinstance(error, GpuError):
        return StartFault(_code(is_passing=error.is_passing), str(error))
    if is_out_of_memory(error) or isinstance(error, MemoryError) or HOST_MEMORY in str(error):
        return _out_of_memory(error, device, share)
    if PASSING.search(str(error)):
        return StartFault(exit_codes.UNAVAILABLE, fault_of(error).message)
    for pattern, message in KNOWN:
        if re.search(pattern, str(error), re.IGNORECASE):
            return StartFault(exit_codes.MISCONFIGURED, f"{message}{_and(old_driver())}")
    if isinstance(error, subprocess.CalledProcessError):
        return StartFault(
            exit_codes.MISCONFIGURED,
            "Triton's C module did not compile; the compiler's output is above. Install the C headers of "
            "libc and of Python (Debian: libc6-dev, python3-dev).",
        )
    known = isinstance(error, CheckpointError | BackendError | OSError | ValueError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    return StartFault(exit_codes.MISCONFIGURED, message, is_known=known)


def _out_of_memory(error: Exception, device: torch.device | None, share: int) -> StartFault:
    if device is None or device.type != "cuda":
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return StartFault(
            exit_codes.MISCONFIGURED,
            f"The memory of this machine is too small for the model ({reason}). Set fewer RUDOLPH_SLOTS, or "
            "use a smaller model.",
        )
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as busy:
        return StartFault(exit_codes.UNAVAILABLE, fault_of(busy).message)
    others = total - free - torch.cuda.memory_reserved(device)
    # The other workers of the same GPU stay: their memory will not be free later.
    expected = total * (share - 1) / share + share * CONTEXT_BYTES
    if others > expected:
        return StartFault(
            exit_codes.UNAVAILABLE,
            f"The memory of the GPU is too small now: other processes use {others / GIB:.1f} of "
            f"{total / GIB:.1f} GiB. Stop them, or wait for their end.",
        )
    part = f"1/{share} of the GPU's {total / GIB:.1f} GiB" if share > 1 else f"{total / GIB:.1f} GiB"
    fewer = "Run fewer workers on a GPU" if share > 1 else "Use a GPU with more memory"
    return StartFault(
        exit_codes.MISCONFIGURED,
        f"The memory of the GPU is too small for this model, even with the fewest slots: {part}. {fewer}, a "
        "smaller model, or a smaller RUDOLPH_STEP_TOKENS.",
    )


def _code(*, is_passing: bool) -> int:
    return exit_codes.UNAVAILABLE if is_passing else exit_codes.MISCONFIGURED


def _and(sentence: str | None) -> str:
    return f" {sentence}" if sentence else ""
