"""Which GPU each worker gets. GPUs are listed by a fake nvidia-smi, or are files in a folder."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import fleet
from cli.shared_options import Serving
from tests.support import nvidia_smi
from workers import devices
from workers.devices import selected_gpus, visible_gpus, worker_devices
from workers.gpu_probe import GpuReport
from workers.supervisor import Supervisor

A, B, C = (f"GPU-{letter * 8}-1111-2222-3333-444444444444" for letter in "abc")
A1, A2, B1 = "MIG-a1111111-5de3", "MIG-a2222222-5de3", "MIG-b1111111-5de3"
Machine = Callable[..., list[str]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """The visible GPUs of a machine, with nvidia-smi (UUIDs) or with device files alone (a number)."""

    def make(gpus: dict[str, list[str]] | int, chosen: str | None = None) -> list[str]:
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if chosen is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        if isinstance(gpus, dict):
            nvidia_smi.install(tmp_path / "bin", gpus)
        count = gpus if isinstance(gpus, int) else 0
        for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{index}" for index in range(count))):
            (tmp_path / name).touch()
        names = visible_gpus(tmp_path)
        monkeypatch.setattr(devices, "visible_gpus", lambda: names)
        return names

    return make


@pytest.mark.parametrize(
    ("count", "chosen", "expected"),
    [
        (3, None, ["0", "1", "2"]),
        (3, "0,2", ["0", "2"]),
        (3, "2, 1", ["2", "1"]),
        (3, "-1", []),
        (3, "-1,0", []),
        (3, "", []),
        (3, "1,-1,2", ["1"]),
        (3, "0,7,1", ["0"]),
        (3, "1,1", []),
        (2, "GPU-8b6c,GPU-0d11", ["GPU-8b6c", "GPU-0d11"]),
        (1, "MIG-11,MIG-22,MIG-33", ["MIG-11", "MIG-22", "MIG-33"]),
        (0, None, []),
        (0, "0,1", []),
    ],
)
def test_device_files_are_counted_and_named_as_in_the_environment(
    machine: Machine, count: int, chosen: str | None, expected: list[str]
) -> None:
    assert machine(count, chosen) == expected


@pytest.mark.parametrize(
    ("gpus", "chosen", "expected"),
    [
        ({A: [], B: [], C: []}, None, [A, B, C]),
        ({A: [A1, A2], B: [], C: []}, None, [A1, A2, B, C]),
        ({A: [A1, A2], B: [B1]}, None, [A1, A2, B1]),
        ({A: [], B: []}, "1", ["1"]),
        ({A: [], B: []}, "1,2", ["1"]),
        ({A: [], B: []}, f"{B},{A}", [B, A]),
        ({A: [], B: []}, f"{B[:8]},{A[:8]}", [B[:8], A[:8]]),
        ({A: [], B: []}, f"{B},GPU-f00d,{A}", [B]),
        ({A: [A1, A2]}, A2, [A2]),
        ({A: [A1, A2]}, f"MIG-{A}/7/0", [f"MIG-{A}/7/0"]),
        ({A: []}, "", []),
    ],
)
def test_listed_gpus_are_named_by_uuid_and_a_divided_gpu_by_its_instances(
    machine: Machine, gpus: dict[str, list[str]], chosen: str | None, expected: list[str]
) -> None:
    assert machine(gpus, chosen) == expected


def test_broken_nvidia_smi_leaves_the_device_files(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "nvidia-smi"
    broken.write_text(
        "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n"
    )
    broken.chmod(0o755)
    assert machine(2) == ["0", "1"]
    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(devices, "LIST_TIMEOUT_S", 0.2)
    assert visible_gpus(tmp_path) == ["0", "1"]


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("auto", {A: [], B: []}, [A, B]),
        ("cuda", {A: [A1, A2], B: []}, [A1, A2, B]),
        ("cuda:1", {A: [A1, A2], B: []}, [A2]),
        ("cuda:5", {A: [], B: []}, []),
        ("cpu", {A: [], B: []}, []),
    ],
)
def test_option_selects_among_the_visible_gpus(
    machine: Machine, device: str, gpus: dict[str, list[str]], expected: list[str]
) -> None:
    machine(gpus)
    assert selected_gpus(device) == expected


def _rows(environments: list[dict[str, str]]) -> list[tuple[str | None, ...]]:
    names = ("RUDOLPH_DEVICE", "CUDA_VISIBLE_DEVICES", "RUDOLPH_GPU_SHARE")
    return [tuple(one.get(name) for name in names) for one in environments]


@pytest.mark.parametrize(
    ("device", "num_workers", "gpus", "expected"),
    [
        ("auto", None, [], [("auto", None, None)]),
        ("auto", 2, [], [("auto", None, None)] * 2),
        ("cuda:5", None, [], [("cuda:5", None, None)]),
        ("cpu", 2, [], [("cpu", None, None)] * 2),
        ("auto", None, [A, B, C], [("cuda", A, "1"), ("cuda", B, "1"), ("cuda", C, "1")]),
        ("cuda", 2, [A], [("cuda", A, "2"), ("cuda", A, "2")]),
        ("cuda", 3, [A, B], [("cuda", A, "2"), ("cuda", B, "1"), ("cuda", A, "2")]),
        ("cuda", 1, [A, B, C], [("cuda", A, "1")]),
        ("auto", None, [A1, A2], [("cuda", A1, "1"), ("cuda", A2, "1")]),
    ],
)
def test_each_worker_sees_one_gpu_and_knows_its_share(
    device: str, num_workers: int | None, gpus: list[str], expected: list[tuple[str | None, ...]]
) -> None:
    assert _rows(worker_devices(device, num_workers, gpus)) == expected


def test_share_of_the_command_is_divided_among_its_workers() -> None:
    assert _rows(worker_devices("cuda", 2, [A], share=3)) == [("cuda", A, "6")] * 2


Started = Callable[..., tuple[list[tuple[str | None, ...]], list[str]]]


@pytest.fixture
def started(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """Start workers on a machine; return their devices and the warnings before them."""

    def start(
        device: str, gpus: dict[str, list[str]], reports: dict[str, GpuReport], workers: int | None = None
    ) -> tuple[list[tuple[str | None, ...]], list[str]]:
        machine(gpus)
        warnings: list[str] = []
        monkeypatch.setattr(Supervisor, "start", lambda _self: None)
        monkeypatch.setattr(fleet, "probe", lambda names: [reports[name] for name in names])
        monkeypatch.setattr(fleet.logger, "warning", lambda _event, message: warnings.append(message))
        supervisor = fleet.start_workers(Serving(device=device), tmp_path, workers, redis_url="redis://h")
        return _rows([dict(one) for one in supervisor.environments]), warnings

    return start


USABLE = GpuReport("NVIDIA H100", "9.0", 1, 1)
TOO_OLD = GpuReport(fault="Tesla V100 has compute capability 7.0.")
BUSY = GpuReport(fault="Another process uses the GPU.", is_passing=True)


def test_supervisor_gets_one_gpu_for_each_worker(started: Started) -> None:
    rows, warnings = started("auto", {A: [], B: []}, {A: USABLE, B: USABLE})
    assert rows == [("cuda", A, "1"), ("cuda", B, "1")]
    assert warnings == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_auto_leaves_out_gpus_that_torch_cannot_use_with_one_warning(started: Started) -> None:
    rows, warnings = started("auto", {A: [], B: [], C: []}, {A: TOO_OLD, B: USABLE, C: TOO_OLD})
    assert rows == [("cuda", B, "1")]
    assert warnings == ["Tesla V100 has compute capability 7.0. The other GPUs are used."]


@pytest.mark.parametrize("workers", [None, 2])
def test_auto_without_a_usable_gpu_is_the_cpu_with_one_warning(started: Started, workers: int | None) -> None:
    rows, warnings = started("auto", {A: [A1, A2], B: []}, {A1: TOO_OLD, A2: TOO_OLD, B: TOO_OLD}, workers)
    assert rows == [("cpu", None, None)] * (workers or 1)
    assert len(warnings) == 1
    assert "CPU" in warnings[0]


def test_auto_waits_for_a_gpu_that_is_busy_now(started: Started) -> None:
    rows, warnings = started("auto", {A: []}, {A: BUSY})
    assert rows == [("cuda", A, "1")]
    assert warnings == []


def test_named_gpus_are_not_replaced_by_the_cpu(started: Started) -> None:
    rows, warnings = started("cuda", {A: [], B: []}, {})
    assert rows == [("cuda", A, "1"), ("cuda", B, "1")]
    assert warnings == []
