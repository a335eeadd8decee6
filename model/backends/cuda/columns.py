"""Host values at fixed addresses on the device, replaced in one transfer."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy import typing as npt
from torch import Tensor

ALIGNMENT = 128
"""Bytes. Kernels are compiled for aligned columns, and again for others."""

NUMPY_DTYPES = {torch.int64: np.int64, torch.float32: np.float32}


class Columns:
    """Named arrays that captured graphs read."""

    def __init__(
        self, fields: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], device: torch.device
    ) -> None:
        """fields: dtype (int64 or float32) and shape of each array."""
        self._places: dict[str, tuple[slice, torch.dtype, tuple[int, ...]]] = {}
        end = 0
        for name, (dtype, shape) in fields.items():
            size = int(np.prod(shape)) * dtype.itemsize
            self._places[name] = (slice(end, end + size), dtype, shape)
            end += -(-size // ALIGNMENT) * ALIGNMENT
        self._bytes = torch.zeros(end, dtype=torch.uint8, device=device)
        self._views = {
            name: self._bytes[place].view(dtype).view(shape)
            for name, (place, dtype, shape) in self._places.items()
        }

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    def load(self, values: Mapping[str, npt.ArrayLike]) -> None:
        """Upload every array; one may be shorter than its field, whose rest is then undefined.

        A CUDA device is given page-locked memory: the host does not wait for it. The allocator of that
        memory keeps it until the device has read it.
        """
        host = torch.empty(len(self._bytes), dtype=torch.uint8, pin_memory=self._bytes.is_cuda)
        buffer = host.numpy()
        for name, (place, dtype, shape) in self._places.items():
            array = np.asarray(values[name], dtype=NUMPY_DTYPES[dtype])
            buffer[place].view(array.dtype).reshape(shape)[: len(array)] = array
        self._bytes.copy_(host, non_blocking=True)
