"""Ways to multiply that this processor has, and the use of each by the tests of a module."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from model.backends.x86 import is_available
from model.backends.x86.linear import Arithmetic, WeightFormat


class Way(NamedTuple):
    """Instructions by name, and how bfloat16 weights are multiplied with them."""

    instructions: str
    arithmetic: Arithmetic

    def __str__(self) -> str:
        return f"{self.instructions}-{self.arithmetic.name.lower()}"


def instructions() -> tuple[str, ...]:
    """Those that this processor has, the best first; none where there are no kernels."""
    if not is_available():
        return ()
    from model.backends.x86 import _kernels

    return _kernels.instructions()


@contextmanager
def using(name: str) -> Iterator[None]:
    """Run the kernels with instructions of this name."""
    from model.backends.x86 import _kernels

    _kernels.use(name)
    try:
        yield
    finally:
        _kernels.use(_kernels.instructions()[0])


def ways() -> list[Way]:
    """All of them for bfloat16 weights."""
    found: list[Way] = []
    for name in instructions():
        from model.backends.x86 import _kernels

        with using(name):
            has_dot = _kernels.has_bf16_dot()
        found += [Way(name, Arithmetic.BF16_DOT)] if has_dot else []
        found += [Way(name, Arithmetic.FP32_FMA)]
    return found


def format_of(arithmetic: Arithmetic) -> WeightFormat:
    """Return the weight format that is multiplied so."""
    return {
        Arithmetic.BF16_DOT: WeightFormat.PACKED12,
        Arithmetic.FP32_FMA: WeightFormat.BF16,
        Arithmetic.INT8_DOT: WeightFormat.INT8,
    }[arithmetic]
