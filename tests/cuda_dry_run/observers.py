"""Observers of the operations on CUDA tensors: their number, and the bytes that are alive."""

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.cuda_dry_run.machine import Machine

# Operations that launch nothing.
VIEWS = frozenset(
    {
        *(
            "view",
            "_unsafe_view",
            "t",
            "transpose",
            "permute",
            "slice",
            "select",
            "expand",
            "unsqueeze",
            "squeeze",
        ),
        *("split", "split_with_sizes", "detach", "alias", "as_strided", "unbind", "_reshape_alias", "empty"),
        *(
            "empty_like",
            "empty_strided",
            "movedim",
            "unflatten",
            "lift_fresh",
            "unsqueeze_",
            "view_as",
            "new_empty",
        ),
        *("narrow", "chunk", "flatten", "device", "set_", "resize_"),
    }
)
# Operations whose result's shape depends on values: the host waits for them.
READS = frozenset({"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero"})


def is_on_gpu(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cuda"


def device_of(values: object) -> torch.device | None:
    return next((leaf.device for leaf in tree_leaves(values) if is_on_gpu(leaf)), None)


class Watch(TorchDispatchMode):
    """Counts operations, and the bytes of the device that are alive."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        if name in READS and (device := device_of((args, kwargs))) is not None:
            stream = self._machine.current_stream(device)
            self._machine.wait(name, stream, stream.launched)
            if name == "_local_scalar_dense":
                return 0
        result = func(*args, **(kwargs or {}))
        device = device_of((args, kwargs, result))
        if device is None:
            return result
        if name not in VIEWS:
            self._machine.launch(name, device)
        return result


class Allocations(TorchDispatchMode):
    """Counts the bytes of the device that are alive, and their peak."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self._storages: dict[int, tuple[Any, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if is_on_gpu(leaf):
                self._add(leaf)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._storages.get(key)
        if known is not None and not known[0].expired():
            return
        self._storages[key] = (StorageWeakRef(storage), storage.nbytes())
        self._storages = {key: entry for key, entry in self._storages.items() if not entry[0].expired()}
        self._machine.bytes = sum(size for _, size in self._storages.values())
        self._machine.peak_bytes = max(self._machine.peak_bytes, self._machine.bytes)
