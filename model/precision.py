"""Which number format a device computes in.

Knows devices and processor flags; knows no weights.
"""

from pathlib import Path

import torch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# x86: AVX512-BF16 and AMX; ARM: the BF16 extension. Without them bfloat16 is emulated, slower than float32.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def choose_dtype(device: torch.device, requested: str | torch.dtype | None = None) -> torch.dtype:
    """The transformer's number format: the one requested, or the device's best for None and "auto".

    CUDA: float16. CPU: bfloat16 where the processor computes in it, else float32. By flags alone, so that one
    machine always decides alike. Raises ValueError for an unknown name.
    """
    if isinstance(requested, torch.dtype):
        if requested not in DTYPES.values():
            raise ValueError(f"{requested} is no number format to compute in; there are {', '.join(DTYPES)}")
        return requested
    if requested is not None and requested != "auto":
        if requested not in DTYPES:
            raise ValueError(f"no number format {requested!r}; there are auto, {', '.join(DTYPES)}")
        return DTYPES[requested]
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and has_native_bfloat16():
        return torch.bfloat16
    return torch.float32


def has_native_bfloat16(processor_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 in hardware; False where the system does not say."""
    try:
        lines = processor_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return not BFLOAT16_FLAGS.isdisjoint(value.split())
    return False
