"""Where the kernels run: the GPU where there is one, else the interpreter (see tests/conftest.py)."""

import os

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: the GPU kernels are NOT tested")


@pytest.fixture(
    params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)],
)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each test runs in the interpreter and, marked `gpu`, on the device; what this run cannot is skipped."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if request.param == "interpreter":
        if not interpreted:
            pytest.skip("this run has the compiled kernels; TRITON_INTERPRET=1 runs the interpreter's")
        return torch.device("cpu")
    if interpreted:
        pytest.skip("no CUDA device, or TRITON_INTERPRET=1")
    return torch.device("cuda")
