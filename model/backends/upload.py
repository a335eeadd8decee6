"""Copies of host values to a device, made without waiting for it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy import typing as npt
from torch import Tensor

ALIGNMENT = 16
"""Every array begins at a multiple of this many values: a kernel is compiled again for other alignments."""


def upload(arrays: Sequence[npt.ArrayLike], device: torch.device) -> list[Tensor]:
    """Copy integers to a device in one transfer; return one int64 tensor an array, of the array's shape.

    A CUDA device is given page-locked memory: the host does not wait for it. The allocator of that memory
    keeps it until the device has read it.
    """
    parts = [np.asarray(array, dtype=np.int64) for array in arrays]
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + -(-part.size // ALIGNMENT) * ALIGNMENT)
    is_cuda = device.type == "cuda"
    host = torch.empty(starts[-1], dtype=torch.int64, pin_memory=is_cuda)
    values = host.numpy()
    for part, start in zip(parts, starts, strict=False):
        values[start : start + part.size] = part.ravel()
    moved = host.to(device, non_blocking=True)
    return [
        moved[start : start + part.size].view(part.shape) for part, start in zip(parts, starts, strict=False)
    ]
