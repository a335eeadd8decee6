"""The part of the build that pyproject.toml has no settled words for: kernels in C.

They are for x86-64 processors with AVX2 or AVX512-BF16. Where there is no compiler for them the install goes
on, and torch does their work.
"""

from pathlib import Path

from setuptools import Extension, setup

KERNELS = Path("model/kernels/x86")

setup(
    ext_modules=[
        Extension(
            "model.kernels.x86._kernels",
            sources=[str(KERNELS / name) for name in ("module.c", "avx512.c", "half.c", "avx2.c")],
            depends=sorted(str(header) for header in KERNELS.glob("*.h")),
            extra_compile_args=["-O3", "-fopenmp"],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ]
)
