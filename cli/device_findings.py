"""What `rudolph doctor` finds about GPUs, number formats and kernels: each device draws one image."""

import importlib.metadata
import os
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cli.models import DEFAULT

if TYPE_CHECKING:
    from workers.gpu_probe import GpuReport

GIB = 1 << 30
COMPILERS = ("gcc", "clang")
"""What Triton looks for, if the variable CC names none."""


@dataclass(frozen=True)
class Finding:
    what: str
    state: Literal["ok", "note", "missing"]
    detail: str
    remedy: str = ""


def device_findings(device: str, dtype: str, model: Path | None, preset: str | None) -> Iterator[Finding]:
    """Check the devices that `device` names, in a process for each, and what their kernels need.

    The image of the trial is drawn with the demo checkpoint, or with `model` if there is none.
    """
    from workers.devices import selected_gpus
    from workers.gpu_probe import probe

    trial, own_preset = (DEFAULT, None) if any(DEFAULT.glob("*.safetensors")) else (model, preset)
    gpus = selected_gpus(device)
    reports = probe(gpus, trial=trial, preset=own_preset, dtype=dtype)
    if gpus:
        yield from _gpu_tools()
    elif device.startswith("cuda"):
        yield Finding("GPU", "missing", f"none found for {device}", "use --device cpu")
    elif device == "auto":
        yield Finding("GPU", "note", "none found; the model runs on the CPU, which is slower")
    for index, (gpu, report) in enumerate(zip(gpus, reports, strict=True)):
        yield from _gpu(f"GPU {index}", gpu, report, trial)
    on_gpu = device.startswith("cuda") or any(report.name for report in reports)
    yield from _number_format("cuda" if on_gpu else "cpu", dtype)
    if not on_gpu and trial is not None:
        (report,) = probe([None], trial=trial, preset=own_preset, dtype=dtype)
        yield _trial("CPU", report, trial)


def _gpu_tools() -> Iterator[Finding]:
    """Check what the kernels of every GPU need."""
    import torch

    from workers.gpu import driver_version, old_driver

    version, too_old = driver_version(), old_driver()
    if too_old is not None:
        yield Finding(
            "NVIDIA driver", "missing", too_old, "update the driver, or set TORCH_INDEX (docs/gpu.md)"
        )
    elif version is None:
        yield Finding("NVIDIA driver", "note", "its version is not in /proc/driver/nvidia/version")
    else:
        yield Finding("NVIDIA driver", "ok", f"{version}, for CUDA {torch.version.cuda} of torch")
    try:
        yield Finding("Triton", "ok", importlib.metadata.version("triton"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding("Triton", "missing", "not installed; every step is slower", "pip install triton")
    yield _compiler()


def _compiler() -> Finding:
    """Check the compiler and the headers with which Triton builds its module at the first launch."""
    remedy = "install gcc and the headers of libc and Python (Debian: gcc libc6-dev python3-dev)"
    named = os.environ.get("CC")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        detail = f"CC={named} is not a program" if named else "neither gcc nor clang is on PATH"
        return Finding("C compiler", "missing", detail, remedy)
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        return Finding("C compiler", "missing", f"{found}, but there is no {header}", remedy)
    return Finding("C compiler", "ok", found)


def _gpu(what: str, gpu: str, report: "GpuReport", trial: Path | None) -> Iterator[Finding]:
    if not report.name:
        state = "note" if report.is_passing else "missing"
        yield Finding(f"{what} ({gpu})", state, report.fault or "")
        return
    free, total = report.free_bytes / GIB, report.total_bytes / GIB
    detail = f"{report.name}, compute capability {report.capability}, {free:.1f} of {total:.1f} GiB free"
    yield Finding(f"{what} ({gpu})", "ok", detail)
    if trial is not None:
        yield _trial(what, report, trial)


def _trial(what: str, report: "GpuReport", model: Path) -> Finding:
    if report.trial_s is None:
        state = "note" if report.is_passing else "missing"
        return Finding(f"trial on {what}", state, report.fault or "")
    detail = f"one image of {model.name} in {report.trial_s:.1f} s"
    return Finding(f"trial on {what}", "ok", detail)


def _number_format(device: str, dtype: str) -> Iterator[Finding]:
    import torch

    from model.backends.precision import choose_dtype

    try:
        number_format = str(choose_dtype(torch.device(device), dtype)).removeprefix("torch.")
    except (ValueError, RuntimeError) as error:
        yield Finding("dtype", "missing", str(error), "use --dtype auto")
        return
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    yield Finding("dtype", "ok", f"{number_format} on {device}{threads}")
    if device == "cpu":
        yield _kernels(number_format)


def _kernels(number_format: str) -> Finding:
    from model.backends.x86 import is_available

    if not is_available():
        detail = "C kernels not built; PyTorch runs the model, at less than half the speed"
        remedy = "if the processor has AVX2: install a C compiler, then the project again"
        return Finding("kernels", "note", detail, remedy)
    if number_format != "bfloat16":
        return Finding("kernels", "note", "C kernels not used; they need bfloat16", "use --dtype auto")
    from model.backends.x86 import _kernels
    from model.backends.x86.linear import Arithmetic, fastest_arithmetic

    instructions = {"avx512": "AVX512-BF16", "avx2": "AVX2"}[_kernels.instructions()[0]]
    products = {
        Arithmetic.BF16_DOT: "bfloat16 products; weights are rounded to 12 bits "
        "(RUDOLPH_WEIGHT_FORMAT=bf16 keeps all bits, slower)",
        Arithmetic.FP32_FMA: "float32 products; weights keep all bits",
    }
    detail = f"C kernels for {instructions}, {products[fastest_arithmetic()]}"
    return Finding("kernels", "ok", detail)
