"""Ways to multiply that this processor has."""

from model.kernels.x86 import is_available
from model.kernels.x86.linear import Arithmetic


def arithmetics() -> list[Arithmetic]:
    """Those of bfloat16 weights; none where there are no kernels."""
    if not is_available():
        return []
    from model.kernels.x86 import _kernels

    return [Arithmetic.PAIRS, Arithmetic.SPREAD, *([Arithmetic.HALF] if _kernels.has_half() else [])]
