"""C kernels for x86-64 processors with AVX512-BF16 or AVX2: products, attention, norms, sampling.

They are built with the project if a C compiler is installed. Without them the reference backend is used.
"""

from functools import cache

# Before the kernels, so that they use its OpenMP threads and do not load their own.
import torch


@cache
def is_available() -> bool:
    """Whether the kernels were built and this processor can run them."""
    if not torch.backends.openmp.is_available():
        return False
    try:
        from model.backends.x86 import _kernels
    except ImportError:
        return False
    return bool(_kernels.instructions())
