"""What every room uses: the small checkpoints in the official file layout, and where GPU kernels run.

Without a GPU they run in the interpreter of Triton, chosen when triton is first imported by whatever test:
so it is chosen here. TRITON_INTERPRET=1 asks for the interpreter where there is a GPU.
"""

import os
from pathlib import Path

import pytest
import structlog
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
if "OMP_NUM_THREADS" not in os.environ:
    # These networks are small: a second thread speeds up nothing, and on a busy machine both only wait.
    torch.set_num_threads(1)

# By itself structlog writes tracebacks with every local: with pictures among them that stops a server's loop
# for half a minute.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def tiny_v1() -> Path:
    """Folder of a small first-generation checkpoint, with what the reference computed from it."""
    return FIXTURES / "tiny-v1"


@pytest.fixture(scope="session")
def tiny_v2() -> Path:
    """Folder of a small second-generation checkpoint, with what the reference computed from it."""
    return FIXTURES / "tiny-v2"


@pytest.fixture(scope="session")
def manifests() -> Path:
    """Folder of the official files' tensor names, shapes and dtypes."""
    return FIXTURES / "manifests"
