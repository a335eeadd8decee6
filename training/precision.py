"""Number formats of training: float32, or mixed precision where it is faster."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from model.backends.precision import trains_in_bfloat16

Precision = Literal["auto", "bf16", "fp16", "fp32"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context of mixed precision.

    `auto` is bfloat16 where the device is faster with it, float16 on an older GPU, else float32.
    """
    chosen = settle(device, precision)
    # The name of the device is an argument of autocast.
    return nullcontext() if chosen == "fp32" else torch.autocast(device.type, dtype=_DTYPES[chosen])


def settle(device: torch.device, precision: Precision) -> Precision:
    """Return the format that `auto` means on a device; other names stay."""
    if precision != "auto":
        return precision
    if trains_in_bfloat16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"


@dataclass
class LossScale:
    """Dynamic loss scaling for float16 (Micikevicius et al., arXiv 1710.03740).

    Gradients are scaled so that small ones are not rounded to zero. A step whose gradients overflow is
    skipped with a smaller scale; after GROW_AFTER good steps the scale doubles.
    """

    value: float = 2.0**16
    good_steps: int = 0

    GROW_AFTER = 500
    LEAST = 2.0**-4
    """A loss that overflows at this scale is not finite itself."""

    def update(self, *, finite: bool) -> None:
        """Adapt the scale after a step. Raises FloatingPointError below LEAST."""
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.value /= 2
            if self.value < self.LEAST:
                raise FloatingPointError("Gradients are not finite at any loss scale.")
        elif self.good_steps % self.GROW_AFTER == 0:
            self.value *= 2

    def state(self) -> dict[str, Any]:
        return {"value": self.value, "good_steps": self.good_steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.value, self.good_steps = float(state["value"]), int(state["good_steps"])
