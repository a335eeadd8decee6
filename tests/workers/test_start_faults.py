"""Every error before the first job has one line and an exit code that says whether a restart helps."""

import subprocess
from pathlib import Path

import pytest
import structlog
import torch

from model.backends import BackendError
from model.files.checkpoint import CheckpointError
from workers import exit_codes, process
from workers.gpu import GpuError, GpuFault
from workers.start_faults import classify

GIB = 1 << 30
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("Failed to find C compiler. Please specify via CC environment variable"),
            "Install gcc",
        ),
        (AssertionError("libcuda.so cannot found!\nPlease make sure GPU is set up"), "TRITON_LIBCUDA_PATH"),
        (
            torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"),
            "Compute capability 7.5",
        ),
        (RuntimeError("CUDA driver version is insufficient for CUDA runtime version"), "driver is too old"),
        (
            RuntimeError("CUDA error: the provided PTX was compiled with an unsupported toolchain."),
            "driver is too old",
        ),
        (RuntimeError("CUDA error: system has unsupported display driver / cuda driver"), "Restart the host"),
        (subprocess.CalledProcessError(1, ["gcc", "main.c"]), "python3-dev"),
        (CheckpointError("bpe.model is missing in /model"), "bpe.model is missing in /model"),
        (BackendError("Set RUDOLPH_WEIGHT_FORMAT=auto."), "RUDOLPH_WEIGHT_FORMAT"),
        (PermissionError(13, "Permission denied", "/.triton"), "/.triton"),
        (GpuError(GpuFault("torch finds no CUDA device.")), "no CUDA device"),
    ],
)
def test_known_fault_is_final_and_its_line_has_the_remedy(error: Exception, words: str) -> None:
    fault = classify(error, CUDA)
    assert fault.exit_code == exit_codes.MISCONFIGURED
    assert fault.is_known
    assert words in fault.message
    assert "\n" not in fault.message


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError(
            "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel …"
        ),
        RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"),
        RuntimeError("CUDA error: the MPS server is not ready to accept new MPS client requests"),
        RuntimeError("CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server"),
        RuntimeError("CUDA error: exclusive-thread device already in use by a different thread"),
        RuntimeError(
            "CUDA error: the hardware resources required to support device connections have been exhausted"
        ),
        GpuError(GpuFault("Another process uses the GPU: out of memory.", is_passing=True)),
    ],
)
def test_busy_device_is_tried_again(error: Exception) -> None:
    fault = classify(error, CUDA)
    assert fault.exit_code == exit_codes.UNAVAILABLE
    assert fault.is_known


def test_unknown_fault_is_final_and_needs_its_traceback() -> None:
    fault = classify(RuntimeError("CUDA error: an illegal memory access was encountered"), CUDA)
    assert fault.exit_code == exit_codes.MISCONFIGURED
    assert not fault.is_known
    assert "RuntimeError: CUDA error: an illegal memory access" in fault.message


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A GPU of 24 GiB, of which this process keeps 4."""
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 4 * GIB)
    return monkeypatch


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize(
    ("free", "share", "code", "words"),
    [
        # 20 GiB free or in this process: the model does not fit.
        (19, 1, exit_codes.MISCONFIGURED, "24.0 GiB. Use a GPU with more memory"),
        # 12 GiB are those of another process.
        (8, 1, exit_codes.UNAVAILABLE, "other processes use 12.0 of 24.0 GiB"),
        # The other worker of this GPU has its half; it will not leave.
        (8, 2, exit_codes.MISCONFIGURED, "1/2 of the GPU's 24.0 GiB. Run fewer workers on a GPU"),
        (2, 2, exit_codes.UNAVAILABLE, "other processes use 18.0 of 24.0 GiB"),
    ],
)
def test_lack_of_memory_is_final_unless_other_processes_have_it(
    memory: pytest.MonkeyPatch, error: Exception, free: int, share: int, code: int, words: str
) -> None:
    memory.setattr(torch.cuda, "mem_get_info", lambda _device: (free * GIB, 24 * GIB))
    fault = classify(error, CUDA, share=share)
    assert fault.exit_code == code
    assert words in fault.message


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
    ],
)
def test_lack_of_memory_of_the_host_is_final(error: Exception) -> None:
    fault = classify(error, torch.device("cpu"))
    assert fault.exit_code == exit_codes.MISCONFIGURED
    assert "The memory of this machine is too small" in fault.message


def test_device_that_is_lost_while_its_memory_is_read_is_tried_again(memory: pytest.MonkeyPatch) -> None:
    def lost(_device: torch.device) -> tuple[int, int]:
        raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")

    memory.setattr(torch.cuda, "mem_get_info", lost)
    assert classify(OUT_OF_MEMORY[0], CUDA).exit_code == exit_codes.UNAVAILABLE


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tiny_v2: Path):
    """Run the main function of a worker on the CPU, with an error in the construction of its session."""
    monkeypatch.setattr(process, "configure_logging", lambda **_: None)
    monkeypatch.setenv("RUDOLPH_MODEL", str(tiny_v2))
    monkeypatch.setenv("RUDOLPH_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("RUDOLPH_DEVICE", "cpu")

    def run(error: Exception) -> tuple[int, list[dict[str, str]]]:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(process, "Session", fail)
        with structlog.testing.capture_logs() as logs:
            monkeypatch.setattr(process, "logger", structlog.get_logger())
            code = process.main()
        return code, [{key: str(value) for key, value in line.items()} for line in logs]

    return run


def test_fault_of_the_engine_s_start_ends_the_worker_with_one_line(start) -> None:
    code, logs = start(RuntimeError("Failed to find C compiler. Please specify via CC"))
    assert code == exit_codes.MISCONFIGURED
    assert [(line["log_level"], line["event"]) for line in logs] == [("error", "engine_not_built")]
    assert "Install gcc" in logs[0]["message"]


def test_busy_device_at_the_engine_s_start_is_a_warning(start) -> None:
    code, logs = start(RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"))
    assert code == exit_codes.UNAVAILABLE
    assert [line["log_level"] for line in logs] == ["warning"]


def test_unknown_fault_at_the_engine_s_start_has_a_traceback(start) -> None:
    code, logs = start(KeyError("conv_cells"))
    assert code == exit_codes.MISCONFIGURED
    assert [line["event"] for line in logs] == ["start_failed", "engine_not_built"]
    assert logs[0]["exc_info"] == "True"
