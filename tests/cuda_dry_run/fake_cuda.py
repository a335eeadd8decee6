"""torch on a `Machine`: CUDA tensors are fake, and every operation on them is given to the machine.

The CPU build of torch has fake CUDA tensors, but its Python methods that select a device first need a real
one. Those are replaced here. Operations on host tensors alone run as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from tests.cuda_dry_run.machine import Event, Graph, Machine, Stream
from tests.cuda_dry_run.observers import Allocations, Watch, device_of, is_on_gpu

A = torch.ops.aten
GPU_BYTES = 80 << 30


class FakeCuda(TorchFunctionMode):
    """Replaces the methods that need a device, and lets host tensors be real."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self._pinned = WeakTensorKeyDictionary()
        self._handlers: dict[Any, Callable[..., Any]] = {
            Tensor.__getitem__: self._get,
            Tensor.__setitem__: self._set,
            Tensor.copy_: self._copy,
            Tensor.to: self._to,
            Tensor.cpu: lambda tensor: self._to(tensor, "cpu"),
            Tensor.contiguous: self._contiguous,
            Tensor.__invert__: A.bitwise_not.default,
            Tensor.tolist: self._tolist,
            torch.tensor: self._tensor,
            torch.nn.functional.scaled_dot_product_attention: self._attention,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        touches_gpu = device_of((args, kwargs)) is not None or (
            device is not None and torch.device(device).type == "cuda"
        )
        touches_gpu |= func is Tensor.to and any(
            isinstance(arg, str | torch.device) and torch.device(arg).type == "cuda" for arg in args
        )
        if touches_gpu:
            handler = self._handlers.get(func)
            return handler(*args, **kwargs) if handler else func(*args, **kwargs)
        if any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        with unset_fake_temporarily():
            is_pinned = kwargs.pop("pin_memory", False)
            result = func(*args, **kwargs)
        if is_pinned:
            self._pinned[result] = True
        return result

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor in self._pinned

    def _get(self, tensor: Tensor, index: Any) -> Tensor:
        out, dim, picks = tensor, 0, []
        for part in self._parts(tensor, index):
            if part is None:
                out = A.unsqueeze.default(out, dim)
            elif isinstance(part, bool):
                raise NotImplementedError
            elif isinstance(part, int):
                out = A.select.int(out, dim, part)
                continue
            elif isinstance(part, slice):
                stop = (1 << 62) if part.stop is None else part.stop
                out = A.slice.Tensor(out, dim, part.start or 0, stop, part.step or 1)
            else:
                picks.extend([None] * (dim - len(picks)))
                picks.append(self._index(part, tensor.device))
            dim += 1
        return A.index.Tensor(out, picks) if picks else out

    def _parts(self, tensor: Tensor, index: Any) -> Iterator[Any]:
        index = index if isinstance(index, tuple) else (index,)
        named = sum(part is not None and part is not Ellipsis for part in index)
        for part in index:
            if part is Ellipsis:
                yield from [slice(None)] * (tensor.dim() - named)
            else:
                yield part

    def _index(self, part: Any, device: torch.device) -> Tensor:
        if is_on_gpu(part):
            return part
        self._machine.upload(device, waits=True)
        shape = part.shape if isinstance(part, Tensor) else (len(part),)
        return torch.empty(shape, dtype=torch.int64, device=device)

    def _set(self, tensor: Tensor, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, Tensor | list) for part in parts):
            got = self._get(tensor, index)
            if isinstance(value, Tensor):
                assert torch.broadcast_shapes(got.shape, value.shape) == got.shape
                assert value.device == tensor.device or not value.dim()
            self._machine.launch("index_put_", tensor.device)
        elif isinstance(value, Tensor):
            self._copy(self._get(tensor, index), value)
        else:
            self._machine.launch("fill_", tensor.device)

    def _copy(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        torch.broadcast_shapes(target.shape, source.shape)
        if is_on_gpu(target) and is_on_gpu(source):
            assert target.device == source.device
            self._machine.launch("copy_", target.device)
        elif is_on_gpu(target):
            assert target.is_contiguous(), "a copy to strided memory is three operations"
            self._machine.upload(target.device, waits=not (non_blocking and self._is_pinned(source)))
        else:
            self._machine.download(source.device, waits=not (non_blocking and self._is_pinned(target)))
        return target

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.get("device") or next((a for a in args if isinstance(a, str | torch.device)), None)
        dtype = kwargs.get("dtype") or next((a for a in args if isinstance(a, torch.dtype)), tensor.dtype)
        if device is None or torch.device(device).type == tensor.device.type:
            return tensor if dtype == tensor.dtype else A._to_copy.default(tensor, dtype=dtype)
        if torch.device(device).type == "cuda":
            waits = not (kwargs.get("non_blocking") and self._is_pinned(tensor))
            self._machine.upload(torch.device(device), waits=waits)
            return torch.empty(tensor.shape, dtype=dtype, device=device)
        self._machine.download(tensor.device, waits=True)
        with unset_fake_temporarily():
            return torch.zeros(tensor.shape, dtype=dtype)

    def _contiguous(self, tensor: Tensor, memory_format: Any = torch.contiguous_format) -> Tensor:
        if tensor.is_contiguous(memory_format=memory_format):
            return tensor
        return A.clone.default(tensor, memory_format=memory_format)

    def _tolist(self, tensor: Tensor) -> list[Any]:
        return self._to(tensor, "cpu").tolist()

    def _tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        with unset_fake_temporarily():
            host = torch.tensor(data, dtype=dtype)
        return self._to(host, device)

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **_: Any
    ) -> Tensor:
        self._machine.attention_shapes.add((tuple(query.shape), tuple(key.shape), attn_mask is not None))
        self._machine.launch("scaled_dot_product_attention", query.device)
        return torch.empty_like(query)


class Launched:
    """The launch of a Triton kernel: arguments on one device, rows without gaps."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __call__(self, kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        name = kernel.fn.__name__
        tensors = [(at, arg) for at, arg in enumerate(args) if isinstance(arg, Tensor)]
        devices = {tensor.device for _, tensor in tensors}
        assert len(devices) == 1, f"{name}: arguments on {devices}"
        for at, tensor in tensors:
            assert not tensor.dim() or tensor.numel() == 1 or tensor.stride(-1) == 1, f"{name}: argument {at}"
            if tensor.storage_offset() * tensor.element_size() % 16:
                self._machine.unaligned.add(f"{name}: argument {at}")
        self._machine.launch(name, devices.pop())


@contextmanager
def dry_run(*, count_bytes: bool = False) -> Iterator[Machine]:
    """Replace CUDA and the launches of Triton kernels; yield the machine that takes the work."""
    machine = Machine()
    launched = Launched(machine)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:

        def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
            launched(kernel, *args, grid=grid, warmup=warmup, **options)

        for function in (InterpretedFunction, JITFunction):
            patch.setattr(function, "run", run)
        cuda = torch.cuda
        patch.setattr(
            cuda,
            "Stream",
            lambda device=None, priority=0: Stream(machine, torch.device(device or "cuda:0"), priority),
        )
        patch.setattr(cuda, "Event", lambda **_: Event(machine))
        patch.setattr(cuda, "CUDAGraph", lambda: Graph(machine))
        patch.setattr(cuda, "graph_pool_handle", lambda: (0, 0))
        patch.setattr(cuda, "current_stream", machine.current_stream)
        patch.setattr(cuda, "stream", machine.entered)
        patch.setattr(cuda, "synchronize", lambda device=None: None)
        patch.setattr(cuda, "get_device_capability", lambda device=None: (9, 0))
        patch.setattr(cuda, "get_per_process_memory_fraction", lambda device=None: 1.0)
        patch.setattr(cuda, "memory_reserved", lambda device=None: 0)
        patch.setattr(cuda, "mem_get_info", lambda device=None: (GPU_BYTES, GPU_BYTES))
        patch.setattr("model.backends.cuda.layers._library_fuses_gelu", lambda linear: True)
        patch.setattr("model.backends.cuda.backend.use_exact_arithmetic", lambda: None)
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(Allocations(machine) if count_bytes else Watch(machine))
        stack.enter_context(FakeCuda(machine))
        yield machine
