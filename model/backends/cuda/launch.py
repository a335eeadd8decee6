"""Shared by the launches of all Triton kernels."""

from typing import Any

import torch

TENSOR_CORES_SINCE = 8
"""Major compute capability. Triton has no products on the tensor cores of Turing (7.5)."""


def lanes_for(size: int) -> int:
    """Return the length of a program's arrays: the least power of two that is at least `size`."""
    return 1 << (size - 1).bit_length()


def has_tensor_cores(device: torch.device) -> bool:
    """Return whether products in Triton run on tensor cores; so they do in the interpreter."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device)[0] >= TENSOR_CORES_SINCE


def launcher(kernel: Any) -> Any:
    """Return the kernel, untyped, to be launched: `launcher(kernel)[grid](…, num_warps=…)`.

    A type checker sees the kernel's function only, which has no launch options.
    """
    return kernel
