"""What the host waits for: copies of device tensors, and points in the work of a device."""

import torch
from torch import Tensor


class HostCopy:
    """A copy of a tensor on its way to the host; later writes to the tensor do not change it."""

    def __init__(self, tensor: Tensor) -> None:
        self._ready: torch.cuda.Event | None = None
        if not tensor.is_cuda:
            self._host = tensor.clone()
        else:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._ready = torch.cuda.Event()
            # The copy runs on a stream of the tensor's device, which need not be the current device.
            self._ready.record(torch.cuda.current_stream(tensor.device))

    def get(self) -> Tensor:
        """Wait until the device has made the copy, and return it."""
        if self._ready is not None:
            self._ready.synchronize()
        return self._host


class Mark:
    """A point in the work of a device: all that was launched before it."""

    def __init__(self, device: torch.device) -> None:
        self._reached: torch.cuda.Event | None = None
        if device.type == "cuda":
            # The host sleeps until then. A host that polls takes a core from the threads that write images.
            self._reached = torch.cuda.Event(blocking=True)
            self._reached.record(torch.cuda.current_stream(device))

    def wait(self) -> None:
        """Wait until the device has done all work before this point."""
        if self._reached is not None:
            self._reached.synchronize()
