"""Mixed precision: where bfloat16 pays, and the context that turns it on."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from model.precision import has_fast_bfloat16


@cache
def wants_bfloat16(device_type: str) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself, and faster than float32 ones."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and has_fast_bfloat16()


def autocast(device: torch.device, *, enabled: bool) -> AbstractContextManager[object]:
    """Mixed precision where asked for and where the hardware has it."""
    if enabled and wants_bfloat16(device.type):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
