"""Why a GPU cannot be used, in sentences. torch.cuda is replaced: no GPU is needed."""

import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import torch

from workers import gpu, gpu_probe
from workers.gpu import GpuError, driver_version, find_gpu_fault, has_code_for, old_driver, use_device
from workers.gpu_probe import GpuReport, probe

ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Jan  7 20:33:42 UTC 2025\nGCC version: 13\n"
OPEN_DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (root)\n"


@dataclass
class Machine:
    """torch.cuda of a machine with GPUs."""

    count: int = 2
    capability: tuple[int, int] = (9, 0)
    warning: str = ""
    """What torch writes as a warning while it looks for GPUs."""
    kernel_error: Exception | None = None
    current: list[torch.device] = field(default_factory=list[torch.device])
    fractions: list[float] = field(default_factory=list[float])

    def is_available(self) -> bool:
        if self.warning:
            warnings.warn(self.warning, stacklevel=1)
        return self.count > 0

    def ones(self, *_: object, **__: object) -> torch.Tensor:
        if self.kernel_error is not None:
            raise self.kernel_error
        return torch.zeros(1)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    one = Machine()
    cuda = torch.cuda
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cuda, "is_available", one.is_available)
    monkeypatch.setattr(cuda, "device_count", lambda: one.count)
    monkeypatch.setattr(cuda, "get_device_capability", lambda _index: one.capability)
    monkeypatch.setattr(cuda, "get_device_name", lambda _index: "Tesla V100")
    monkeypatch.setattr(cuda, "get_arch_list", lambda: ARCHITECTURES)
    monkeypatch.setattr(cuda, "set_device", one.current.append)
    monkeypatch.setattr(
        cuda, "set_per_process_memory_fraction", lambda fraction, _device: one.fractions.append(fraction)
    )
    monkeypatch.setattr(gpu.torch, "ones", one.ones)
    monkeypatch.setattr(gpu, "visible_gpus", lambda: ["0"])
    return one


@pytest.mark.parametrize(("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_worker_makes_its_gpu_the_current_device(machine: Machine, name: str, index: int) -> None:
    assert use_device(name) == torch.device("cuda", index)
    assert machine.current == [torch.device("cuda", index)]
    assert machine.fractions == []


def test_two_workers_of_a_gpu_may_use_half_of_its_memory_each(machine: Machine) -> None:
    use_device("cuda", share=2)
    assert machine.fractions == [0.5]


def test_cpu_and_missing_devices_leave_the_current_device(machine: Machine) -> None:
    assert use_device("cpu") == torch.device("cpu")
    with pytest.raises(GpuError, match="finds 2 CUDA devices, and cuda:2 is none of them"):
        use_device("cuda:2")
    assert machine.current == []


BUSY = torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel …")
TOO_OLD = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Update it."


@pytest.mark.parametrize(
    ("change", "words", "is_passing"),
    [
        ({"capability": (7, 0)}, "compute capability 7.0, and torch", False),
        ({"capability": (6, 1)}, "code for 7.5 to 12.0", False),
        (
            {"kernel_error": RuntimeError("CUDA error: no kernel image is available")},
            "no kernel image",
            False,
        ),
        ({"kernel_error": BUSY}, "busy or unavailable. Stop it", True),
        ({"kernel_error": torch.AcceleratorError("CUDA error: out of memory")}, "out of memory", True),
        ({"count": 0, "warning": TOO_OLD}, "too old (found version 11040)", False),
        (
            {"count": 0, "warning": "CUDA initialization: Error 802: system not yet initialized"},
            "not yet initialized",
            True,
        ),
        ({"count": 0}, "finds no CUDA device. Check the driver with nvidia-smi", False),
    ],
)
def test_fault_is_one_line_with_its_reason(
    machine: Machine, change: dict[str, object], words: str, is_passing: bool
) -> None:
    for name, value in change.items():
        setattr(machine, name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fault = find_gpu_fault()
    assert fault is not None
    assert words in fault.message
    assert "\n" not in fault.message
    assert fault.is_passing == is_passing


@pytest.mark.parametrize("change", [{"count": 0, "warning": TOO_OLD}, {"capability": (7, 0)}])
def test_auto_is_the_cpu_with_exactly_one_warning(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    for name, value in change.items():
        setattr(machine, name, value)
    said: list[str] = []
    monkeypatch.setattr(gpu.logger, "warning", lambda _event, message: said.append(message))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use_device("auto") == torch.device("cpu")
    assert len(said) == 1
    assert said[0].endswith("The model runs on the CPU, which is slower.")


def test_auto_without_any_gpu_says_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.count = 0
    monkeypatch.setattr(gpu, "visible_gpus", list)
    monkeypatch.setattr(gpu.logger, "warning", lambda *_args, **_more: pytest.fail("a warning"))
    assert use_device("auto") == torch.device("cpu")


def test_auto_does_not_replace_a_busy_gpu_by_the_cpu(machine: Machine) -> None:
    machine.kernel_error = BUSY
    with pytest.raises(GpuError) as raised:
        use_device("auto")
    assert raised.value.is_passing


def test_warnings_of_a_usable_gpu_are_shown(machine: Machine) -> None:
    machine.warning = "Something else"
    with pytest.warns(UserWarning, match="Something else"):
        assert find_gpu_fault() is None


def test_build_without_cuda_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.count = 0
    monkeypatch.setattr(torch.version, "cuda", None)
    fault = find_gpu_fault()
    assert fault is not None
    assert "is a build without CUDA" in fault.message


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 0), False),
        ((7, 5), True),
        ((8, 0), True),
        ((8, 9), True),
        ((9, 0), True),
        ((10, 3), True),
        ((11, 0), False),
        ((12, 1), True),
        ((13, 0), True),
        ((6, 1), False),
    ],
)
def test_machine_code_runs_on_its_major_version_and_ptx_on_later_ones(
    capability: tuple[int, int], expected: bool
) -> None:
    assert has_code_for(capability, ARCHITECTURES) == expected
    assert (
        has_code_for(capability, [f"{name}a" if "90" in name else name for name in ARCHITECTURES]) == expected
    )


@pytest.mark.parametrize("form", [DRIVER, OPEN_DRIVER])
@pytest.mark.parametrize(
    ("version", "cuda", "needed"),
    [
        ("580.65.06", "13.0", None),
        ("570.86.15", "13.0", "580"),
        ("570.86.15", "12.6", None),
        ("470.82", "12.6", "525"),
    ],
)
def test_driver_is_compared_with_the_build_of_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str, version: str, cuda: str, needed: str | None
) -> None:
    file = tmp_path / "version"
    file.write_text(form.format(version))
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert driver_version(file) == version
    said = old_driver(file)
    assert (said is None) == (needed is None)
    assert said is None or f"update it to {needed} or newer" in said
    assert old_driver(tmp_path / "none") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_probe_of_a_gpu_that_torch_cannot_use_is_a_report() -> None:
    (report,) = probe(["MIG-bbbb"])
    assert torch.__version__ in str(report.fault)
    assert not report.is_passing


def test_trial_draws_an_image_on_the_cpu(tiny_v2: Path) -> None:
    (report,) = probe([None], trial=tiny_v2, dtype="float32")
    assert report.fault is None
    assert report.trial_s is not None
    assert report.trial_s > 0


def test_trial_of_a_damaged_checkpoint_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_probe", "--device", "cpu", "--model", str(tmp_path)])
    gpu_probe.main()
    report = msgspec.json.decode(capsys.readouterr().out, type=GpuReport)
    assert report.trial_s is None
    assert str(tmp_path) in str(report.fault)


def test_check_that_dies_or_hangs_is_a_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    monkeypatch.setattr(gpu_probe, "PYTHON", (str(program),))
    program.write_text("#!/bin/sh\necho 'Fatal error' >&2\nkill -ABRT $$\n")
    program.chmod(0o755)
    (died,) = probe(["GPU-aaaa"])
    assert re.search(r"ended with code -6\. Fatal error", str(died.fault))
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    (hung,) = probe(["GPU-aaaa"], timeout_s=0.2)
    assert hung.is_passing


def test_each_probe_sees_its_own_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nprintf \'{"name": "%s"}\\n\' "$CUDA_VISIBLE_DEVICES"\n')
    program.chmod(0o755)
    monkeypatch.setattr(gpu_probe, "PYTHON", (str(program),))
    assert [report.name for report in probe(["GPU-aaaa", "MIG-bbbb"])] == ["GPU-aaaa", "MIG-bbbb"]
    assert msgspec.json.decode(subprocess.check_output([program]), type=GpuReport).name == os.environ.get(
        "CUDA_VISIBLE_DEVICES", ""
    )
