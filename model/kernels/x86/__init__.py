"""Products and decode steps in C, for x86-64 processors with AVX512-BF16 or AVX2.

Knows whether this machine has them. They are built with the project where there is a C compiler, and nobody
needs them: without, torch's own operations do the same.
"""

from functools import cache

# Before the kernels, so that they find its OpenMP threads and do not bring their own.
import torch


@cache
def is_available() -> bool:
    """Whether the kernels were built and this processor can run them."""
    if not torch.backends.openmp.is_available():
        return False
    try:
        from model.kernels.x86 import _kernels
    except ImportError:
        return False
    return bool(_kernels.instructions())
