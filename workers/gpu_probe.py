"""`python -m workers.gpu_probe`: what one process finds on its GPU, as JSON; and the call of such processes.

A process of its own for each GPU, because CUDA_VISIBLE_DEVICES applies to a whole process, and because an
error of a device can spoil all later calls of its process. The caller loads no torch.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from workers.child_process import PYTHON, import_path

TIMEOUT_S = 180.0
"""On a host with many GPUs the driver starts for seconds each; a trial compiles kernels."""


class GpuReport(msgspec.Struct, frozen=True):
    """What a process found on its device."""

    name: str = ""
    capability: str = ""
    free_bytes: int = 0
    total_bytes: int = 0
    fault: str | None = None
    """Why the device cannot be used, in whole sentences; None if it can."""
    is_passing: bool = False
    """The fault may end without a change of this machine."""
    trial_s: float | None = None
    """Seconds of one image of the trial's model, with all its compilations."""


def probe(
    gpus: Sequence[str | None],
    *,
    trial: Path | None = None,
    preset: str | None = None,
    dtype: str = "auto",
    timeout_s: float = TIMEOUT_S,
) -> list[GpuReport]:
    """Return a report for each GPU, named as in CUDA_VISIBLE_DEVICES; None stands for the CPU.

    `trial`: folder of a small checkpoint, of which each device draws an image in `dtype`.
    """
    options: list[str] = []
    if trial is not None:
        options += ["--model", str(trial), "--dtype", dtype]
    if preset is not None:
        options += ["--preset", preset]
    running: list[subprocess.Popen[str]] = []
    for gpu in gpus:
        chosen = {"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {}
        device = ["--device", "cuda" if gpu is not None else "cpu"]
        running.append(
            subprocess.Popen(
                [*PYTHON, "-m", "workers.gpu_probe", *device, *options],
                env=os.environ | import_path() | chosen,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return [_report(process, timeout_s) for process in running]


def _report(process: subprocess.Popen[str], timeout_s: float) -> GpuReport:
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return GpuReport(fault=f"The check of the GPU did not end within {timeout_s:.0f} s.", is_passing=True)
    try:
        return msgspec.json.decode(output.strip().rpartition("\n")[2], type=GpuReport)
    except msgspec.DecodeError:
        last = errors.strip().rpartition("\n")[2]
        return GpuReport(fault=f"The check of the GPU ended with code {process.returncode}. {last}".strip())


def main() -> None:
    """Print the report of this process's device."""
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--preset")
    options = parser.parse_args()
    report = _look() if options.device == "cuda" else GpuReport()
    if options.model is not None and report.fault is None:
        report = _with_trial(report, options.device, options.model, options.preset, options.dtype)
    print(msgspec.json.encode(report).decode())  # noqa: T201


def _look() -> GpuReport:
    import torch

    from workers.gpu import find_gpu_fault

    fault = find_gpu_fault()
    if fault is not None:
        return GpuReport(fault=fault.message, is_passing=fault.is_passing)
    free, total = torch.cuda.mem_get_info()
    major, minor = torch.cuda.get_device_capability()
    return GpuReport(torch.cuda.get_device_name(), f"{major}.{minor}", free, total)


def _with_trial(report: GpuReport, name: str, model: Path, preset: str | None, dtype: str) -> GpuReport:
    import torch

    from workers.exit_codes import UNAVAILABLE
    from workers.start_faults import classify
    from workers.trial import draw_one_image

    device = torch.device(name)
    try:
        seconds = draw_one_image(model, device, preset=preset, dtype=dtype)
    except Exception as error:  # every error belongs into the report
        fault = classify(error, device)
        passing = fault.exit_code == UNAVAILABLE
        return msgspec.structs.replace(report, fault=fault.message, is_passing=passing)
    return msgspec.structs.replace(report, trial_s=seconds)


if __name__ == "__main__":
    main()
