"""The kernels compile for Hopper, with no GPU at hand: what the interpreter accepts, the compiler may not."""

import json
import subprocess
import sys
from os import environ
from pathlib import Path

import pytest

KERNELS = {"attend_kernel", "draw_kernel", "embed_kernel", "add_and_norm_kernel"}


@pytest.mark.slow
def test_every_kernel_compiles_for_hopper_and_hardly_spills(tmp_path: Path):
    environment = {key: value for key, value in environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "bench.compile_kernels", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    compiled = json.loads(done.stdout)
    assert {kernel["name"] for kernel in compiled} == KERNELS
    for kernel in compiled:
        assert kernel["machine_code_bytes"] > 0
        # A few registers of the widest draw are no loss; hundreds were, before its row was split in two.
        assert 0 <= kernel["spilled_registers"] <= 32, kernel
