"""Values on their way from the device to the host. Knows tensors only."""

import torch
from torch import Tensor


class FromDevice:
    """A tensor that is copied to the host beside the work that follows it on the device."""

    def __init__(self, tensor: Tensor) -> None:
        self._host = tensor
        self._ready: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record()

    def get(self) -> Tensor:
        """The values; waits until the device has come this far."""
        if self._ready is not None:
            self._ready.synchronize()
        return self._host
