"""Builds the C kernels, which pyproject.toml cannot describe.

They run on x86-64 processors with AVX2 or AVX512-BF16. Without a C compiler the package is installed without
them, and PyTorch runs the network.
"""

from pathlib import Path

from setuptools import Extension, setup

KERNELS = Path("model/backends/x86")

setup(
    ext_modules=[
        Extension(
            "model.backends.x86._kernels",
            sources=[str(KERNELS / name) for name in ("module.c", "avx512.c", "avx2.c")],
            depends=sorted(str(header) for header in KERNELS.glob("*.h")),
            extra_compile_args=["-O3", "-fopenmp"],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ]
)
