"""`rudolph doctor`: what is there, what is missing, and what to do about it."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table

from cli import options
from cli.console import CliError, output
from cli.models import choose_model

MIN_PYTHON = (3, 11)
API_PACKAGES = ("fastapi", "uvicorn", "redis", "msgspec", "pillow")
WORKER_PACKAGES = ("torch", "numpy", "youtokentome", "safetensors", "huggingface-hub")
GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    what: str
    state: Literal["ok", "note", "missing"]
    detail: str
    remedy: str = ""


def doctor(
    model: options.Model = None,
    preset: options.Preset = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    redis_url: options.RedisUrl = None,
) -> int:
    """Check this machine; exits 1 when something that the server needs is missing."""
    table = Table("", "what", "found", "what to do", box=None)
    marks = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "missing": "[red]missing[/red]"}
    missing = 0
    for finding in _findings(model, preset, device, dtype, redis_url):
        table.add_row(marks[finding.state], finding.what, finding.detail, finding.remedy)
        missing += finding.state == "missing"
    output.print(table)
    return 1 if missing else 0


def _findings(
    model: Path | None, preset: str | None, device: str, dtype: str, redis_url: str | None
) -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info >= MIN_PYTHON:
        yield Finding("Python", "ok", version)
    else:
        yield Finding("Python", "missing", version, "install Python 3.11 or newer")
    yield _packages("packages of the API", API_PACKAGES, "pip install rudolph-server")
    worker = _packages("packages of a worker", WORKER_PACKAGES, "pip install 'rudolph-server\\[worker]'")
    yield worker
    if worker.state == "ok":
        yield from _devices(device, dtype)
        yield _checkpoint(model, preset)
    yield _redis(redis_url)


def _packages(what: str, names: tuple[str, ...], remedy: str) -> Finding:
    found: list[str] = []
    absent: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        return Finding(what, "missing", f"without {', '.join(absent)}", remedy)
    return Finding(what, "ok", ", ".join(found))


def _devices(device: str, dtype: str) -> Iterator[Finding]:
    import torch

    from model.precision import choose_dtype
    from workers.supervisor import visible_gpus

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield Finding(f"GPU {index}", "ok", f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free")
    elif visible_gpus():
        detail = f"the machine has one, torch {torch.__version__} cannot use it"
        yield Finding("GPU", "missing", detail, "install a CUDA build of torch that fits the driver")
    elif device.startswith("cuda"):
        yield Finding("GPU", "missing", f"{device} asked for, none found", "use --device cpu")
    else:
        yield Finding("GPU", "note", "none: everything runs on the CPU, slowly")
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    try:
        number_format = str(choose_dtype(torch.device(chosen), dtype)).removeprefix("torch.")
    except (ValueError, RuntimeError) as error:
        yield Finding("dtype", "missing", str(error), "use --dtype auto")
        return
    threads = f", {torch.get_num_threads()} threads" if chosen == "cpu" else ""
    yield Finding("dtype", "ok", f"{number_format} on {chosen}{threads}")
    if chosen == "cpu":
        yield _kernels(number_format)


def _kernels(number_format: str) -> Finding:
    from model.kernels.x86 import is_available

    if not is_available():
        detail = "those in C are missing: torch does their work, at less than half the speed"
        remedy = "where the processor has avx2: install a C compiler, then the project again"
        return Finding("kernels", "note", detail, remedy)
    if number_format != "bfloat16":
        return Finding("kernels", "note", "those in C read bfloat16 only", "use --dtype auto")
    from model.kernels.x86 import _kernels
    from model.kernels.x86.linear import Arithmetic, fastest_arithmetic

    instructions = {"avx512": "AVX512-BF16", "avx2": "AVX2"}[_kernels.instructions()[0]]
    products = {
        Arithmetic.PAIRS: "products of bfloat16, weights in twelve bits",
        Arithmetic.SPREAD: "products of float32",
        Arithmetic.HALF: "products of float16",
    }
    detail = f"all layers in one call ({instructions}), {products[fastest_arithmetic()]}"
    return Finding("kernels", "ok", detail)


def _checkpoint(model: Path | None, preset: str | None) -> Finding:
    """Loads it, as a worker would: a file that is there may still be damaged or of another model."""
    from model.checkpoint import CheckpointError, load_rudolph

    try:
        folder = choose_model(model)
    except CliError as error:
        return Finding("checkpoint", "missing", str(error), "rudolph download 350M")
    try:
        rudolph = load_rudolph(folder, preset=preset, device="cpu", dtype="float32")
    except (CheckpointError, OSError, RuntimeError, ValueError) as error:
        return Finding("checkpoint", "missing", f"{folder}: {error}", "rudolph download 350M")
    parameters = sum(parameter.numel() for parameter in rudolph.transformer.parameters())
    side = rudolph.output_side
    sizes = f"generation {rudolph.config.generation}, {parameters / 1e6:.1f} M weights, {side}×{side} px"
    return Finding("checkpoint", "ok", f"{folder}: {sizes}")


def _redis(url: str | None) -> Finding:
    import asyncio

    from jobs.client import JobClient
    from jobs.errors import QueueError, QueueUnavailable
    from jobs.server_binary import find_server

    if url is None:
        try:
            binary = find_server()
        except QueueUnavailable as error:
            return Finding("Redis", "missing", str(error), "install redis-server, or set RUDOLPH_REDIS_URL")
        return Finding("Redis", "ok", f"`rudolph serve` runs {binary}")

    async def ping() -> None:
        client = await JobClient.connect(url)
        try:
            await client.ping()
        finally:
            await client.close()

    try:
        asyncio.run(ping())
    except (QueueError, ValueError) as error:
        return Finding("Redis", "missing", str(error), "check the URL and that Redis is running")
    return Finding("Redis", "ok", "answers, and has the queue's data")
