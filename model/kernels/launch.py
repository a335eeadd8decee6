"""What the launches of the Triton kernels share. Knows no kernel."""

from typing import Any


def lanes_for(size: int) -> int:
    """The power of two, at least `size`, that a program's arrays must be long."""
    return 1 << (size - 1).bit_length()


def launcher(kernel: Any) -> Any:
    """The kernel as something that is launched: `launcher(kernel)[grid](…, num_warps=…)`.

    Launch options are no parameters of the kernel's function, which is all that a type checker sees.
    """
    return kernel
