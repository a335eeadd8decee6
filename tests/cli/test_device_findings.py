"""What `rudolph doctor` says of GPUs, for reports of machines that are not here."""

from pathlib import Path

import pytest

from cli import device_findings as module
from cli.device_findings import Finding, device_findings
from workers import devices, gpu, gpu_probe
from workers.gpu_probe import GpuReport

GIB = 1 << 30
H100 = GpuReport("NVIDIA H100", "9.0", 70 * GIB, 80 * GIB, trial_s=1.25)


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The findings of a machine by their names."""

    def look(*reports: GpuReport, device: str = "auto") -> dict[str, Finding]:
        names = [f"GPU-{index}" for index in range(len(reports))]
        monkeypatch.setattr(devices, "visible_gpus", lambda: names)

        def probe(gpus: list[str | None], **_: object) -> list[GpuReport]:
            return [GpuReport(trial_s=0.5) if name is None else reports[names.index(name)] for name in gpus]

        monkeypatch.setattr(gpu_probe, "probe", probe)
        monkeypatch.setattr(gpu, "driver_version", lambda *_: "580.65.06")
        return {finding.what: finding for finding in device_findings(device, "auto", tmp_path, None)}

    return look


def test_every_gpu_has_its_facts_and_its_trial(findings) -> None:
    found = findings(H100, H100)
    assert found["GPU 1 (GPU-1)"].state == "ok"
    assert "compute capability 9.0, 70.0 of 80.0 GiB free" in found["GPU 1 (GPU-1)"].detail
    assert found["trial on GPU 1"] == Finding("trial on GPU 1", "ok", "one image of demo in 1.2 s")
    assert found["dtype"].detail == "float16 on cuda"
    assert "trial on CPU" not in found


def test_gpu_on_which_no_kernel_runs_is_missing(findings) -> None:
    found = findings(H100, GpuReport(fault="Tesla V100 has compute capability 7.0."))
    assert found["GPU 0 (GPU-0)"].state == "ok"
    assert found["GPU 1 (GPU-1)"] == Finding(
        "GPU 1 (GPU-1)", "missing", "Tesla V100 has compute capability 7.0."
    )


def test_gpu_that_fails_at_its_first_image_is_missing(findings) -> None:
    fault = "Triton found no C compiler."
    found = findings(GpuReport("NVIDIA L4", "8.9", GIB, GIB, fault=fault))
    assert found["GPU 0 (GPU-0)"].state == "ok"
    assert found["trial on GPU 0"] == Finding("trial on GPU 0", "missing", fault)


def test_busy_gpu_is_a_note(findings) -> None:
    found = findings(GpuReport(fault="Another process uses the GPU.", is_passing=True), device="cuda")
    assert found["GPU 0 (GPU-0)"].state == "note"


def test_machine_without_a_gpu_tries_the_cpu(findings) -> None:
    found = findings()
    assert found["GPU"].state == "note"
    assert found["trial on CPU"].state == "ok"
    assert findings(device="cuda")["GPU"].state == "missing"
    assert "GPU" not in findings(device="cpu")


@pytest.mark.parametrize(
    ("programs", "cc", "headers", "state"),
    [
        (["gcc"], None, True, "ok"),
        (["clang"], None, True, "ok"),
        ([], None, True, "missing"),
        (["gcc"], None, False, "missing"),
        (["gcc"], "mycc", True, "missing"),
        (["mycc"], "mycc", True, "ok"),
    ],
)
def test_compiler_and_headers_of_triton_are_looked_for(
    findings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    programs: list[str],
    cc: str | None,
    headers: bool,
    state: str,
) -> None:
    for program in programs:
        (tmp_path / program).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    if cc is not None:
        monkeypatch.setenv("CC", cc)
    if headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(module.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert findings(H100)["C compiler"].state == state


def test_old_driver_and_absent_triton_are_missing(findings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "old_driver", lambda: "The NVIDIA driver 570 is too old for CUDA 13.0.")

    def absent(name: str) -> str:
        raise module.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.importlib.metadata, "version", absent)
    found = findings(H100)
    assert found["NVIDIA driver"].state == "missing"
    assert found["Triton"].state == "missing"
