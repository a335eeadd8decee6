"""The kernels compile with no GPU at hand: what the interpreter accepts, the compiler may not.

`make test` compiles one architecture. RUDOLPH_ALL_KERNELS=1 compiles every architecture, size and number
format, which takes many minutes.
"""

import json
import subprocess
import sys
from os import environ
from pathlib import Path
from typing import Any

import pytest

KERNELS = {"attend_kernel", "draw_kernel", "embed_kernel", "add_and_norm_kernel", "stretch_kernel"}
FEW_ROWS = {"product_kernel"}
"""Compiled where there are tensor cores and the rows fit: see `FewRows`."""

SHARED_BYTES = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
"""KiB of shared memory of a program by architecture: CUDA C programming guide, technical specifications."""

MAX_SPILLED = 32
"""A few registers of the widest draw are no loss; hundreds were, before its row was split in two."""
MAX_SPILLED_WITHOUT_TENSOR_CORES = 256
"""Products of wide heads on Turing."""


def compiled(tmp_path: Path, arch: int, preset: str, dtype: str) -> list[dict[str, Any]]:
    environment = {key: value for key, value in environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = ["--json", "--arch", str(arch), "--preset", preset, "--dtype", dtype]
    done = subprocess.run(
        [sys.executable, "-m", "bench.compile_kernels", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(kernels: list[dict[str, Any]], arch: int, preset: str) -> None:
    has_products = arch >= 80 and preset == "350M"
    assert {kernel["name"] for kernel in kernels} == KERNELS | (FEW_ROWS if has_products else set())
    most = MAX_SPILLED if arch >= 80 else MAX_SPILLED_WITHOUT_TENSOR_CORES
    for kernel in kernels:
        assert kernel["machine_code_bytes"] > 0
        assert 0 <= kernel["spilled_registers"] <= most, kernel
        assert 0 < kernel["registers"] <= 255, kernel
        assert kernel["shared_bytes"] <= SHARED_BYTES[arch] << 10, kernel


@pytest.mark.slow
def test_every_kernel_compiles_for_hopper_and_hardly_spills(tmp_path: Path):
    check(compiled(tmp_path, 90, "350M", "float16"), 90, "350M")


@pytest.mark.skipif(
    environ.get("RUDOLPH_ALL_KERNELS") != "1",
    reason="RUDOLPH_ALL_KERNELS=1 compiles every kernel for every GPU: NOT tested here",
)
@pytest.mark.parametrize("arch", SHARED_BYTES)
@pytest.mark.parametrize("preset", ["350M", "1.3B", "2.7B"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_kernel_compiles_for_every_gpu(arch: int, preset: str, dtype: str, tmp_path: Path):
    check(compiled(tmp_path, arch, preset, dtype), arch, preset)
