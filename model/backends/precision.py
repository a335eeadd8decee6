"""The number format that a device computes in, by its kind and the processor's flags."""

from pathlib import Path

import torch

from model.backends.x86 import is_available

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# x86: AVX512-BF16 and AMX; ARM: the BF16 extension. Without them torch emulates bfloat16, slower than
# float32.
AMX_FLAG = "amx_bf16"
BFLOAT16_FLAGS = frozenset({"avx512_bf16", AMX_FLAG, "bf16"})
INTEL = "GenuineIntel"
PROCESSOR_INFO = Path("/proc/cpuinfo")


def choose_dtype(device: torch.device, requested: str | torch.dtype | None = None) -> torch.dtype:
    """Return the transformer's number format: the one requested, or the device's best for None and "auto".

    CUDA: float16. CPU: bfloat16 where the processor computes in it, or where the kernels in C run, which read
    it; else float32. Flags decide, so that one machine always decides alike. Raises ValueError for an unknown
    name.
    """
    if isinstance(requested, torch.dtype):
        if requested not in DTYPES.values():
            raise ValueError(f"{requested} is not a number format to compute in. Choose {', '.join(DTYPES)}.")
        return requested
    if requested is not None and requested != "auto":
        if requested not in DTYPES:
            raise ValueError(f"There is no number format {requested!r}. Choose auto, {', '.join(DTYPES)}.")
        return DTYPES[requested]
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and (has_native_bfloat16() or is_available()):
        return torch.bfloat16
    return torch.float32


def choose_decoder_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the number format of the image decoder for a transformer in `dtype`.

    It is `dtype`, except on a CPU if convolutions in `dtype` are slower than in float32: float16 on every
    processor, bfloat16 on those with slow products. The flags of the processor decide, because the image of a
    seed must not depend on a measurement.
    """
    slow = dtype is torch.float16 or (dtype is torch.bfloat16 and not has_fast_bfloat16())
    return torch.float32 if device.type == "cpu" and slow else dtype


def trains_in_bfloat16(device: torch.device) -> bool:
    """Return whether mixed precision in bfloat16 is faster than float32 on a device."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and has_fast_bfloat16()


def has_native_bfloat16(processor_info: Path = PROCESSOR_INFO) -> bool:
    """Whether the processor multiplies bfloat16 in hardware; False where its flags are unknown."""
    return not BFLOAT16_FLAGS.isdisjoint(_flags(processor_info))


def has_fast_bfloat16(processor_info: Path = PROCESSOR_INFO) -> bool:
    """Whether products of bfloat16 take less time than those of float32.

    Intel's processors start an AVX512-BF16 instruction every second cycle, and in that time four for float32
    with half of its work each. They are fast with AMX, which a virtual machine may hide. On a fifth
    generation Xeon without it convolutions took 1.4 times as long as in float32.
    """
    flags = _flags(processor_info)
    if INTEL in flags and AMX_FLAG not in flags:
        return False
    return not BFLOAT16_FLAGS.isdisjoint(flags)


def _flags(processor_info: Path) -> frozenset[str]:
    """Return the flags of the first processor and its vendor's name."""
    try:
        lines = processor_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features", "vendor_id"}:
            found.setdefault(key.strip(), value)
    return frozenset(" ".join(found.values()).split())
