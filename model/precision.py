"""Which number format a device computes in.

Knows devices and processor flags; knows no weights.
"""

from pathlib import Path

import torch

from model.kernels.x86 import is_available

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# x86: AVX512-BF16 and AMX; ARM: the BF16 extension. Without them torch emulates bfloat16, slower than
# float32.
AMX_FLAG = "amx_bf16"
BFLOAT16_FLAGS = frozenset({"avx512_bf16", AMX_FLAG, "bf16"})
INTEL = "GenuineIntel"
PROCESSOR_INFO = Path("/proc/cpuinfo")


def choose_dtype(device: torch.device, requested: str | torch.dtype | None = None) -> torch.dtype:
    """The transformer's number format: the one requested, or the device's best for None and "auto".

    CUDA: float16. CPU: bfloat16 where the processor computes in it, or where the kernels in C run, which read
    it; else float32. By flags alone, so that one machine always decides alike. Raises ValueError for an
    unknown name.
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
    if device.type == "cpu" and (has_native_bfloat16() or is_available()):
        return torch.bfloat16
    return torch.float32


def choose_decoder_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The format that pictures are drawn in beside a transformer in `dtype`.

    The same one, but float32 on a CPU where its convolutions are the slower ones: float16 has no fast ones on
    any, bfloat16 has none where products of bfloat16 are slow. By flags alone, as above: a seed's picture
    should not depend on a stopwatch.
    """
    slow = dtype is torch.float16 or (dtype is torch.bfloat16 and not has_fast_bfloat16())
    return torch.float32 if device.type == "cpu" and slow else dtype


def has_native_bfloat16(processor_info: Path = PROCESSOR_INFO) -> bool:
    """Whether the processor multiplies bfloat16 in hardware; False where the system does not say."""
    return not BFLOAT16_FLAGS.isdisjoint(_flags(processor_info))


def has_fast_bfloat16(processor_info: Path = PROCESSOR_INFO) -> bool:
    """Whether many products of bfloat16 take less time than as many of float32.

    Intel's processors begin an AVX512-BF16 instruction every second cycle, and in that time four for float32,
    half of its work each; they leave bfloat16 to AMX, which a virtual machine may hide. Seen on a fifth
    generation Xeon: convolutions took 1.4 times as long as in float32.
    """
    flags = _flags(processor_info)
    if INTEL in flags and AMX_FLAG not in flags:
        return False
    return not BFLOAT16_FLAGS.isdisjoint(flags)


def _flags(processor_info: Path) -> frozenset[str]:
    """Of the first processor, with its vendor's name among them."""
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
