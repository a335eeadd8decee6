"""`rudolph doctor`: reports what is installed, what is missing, and what to do."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from cli import options
from cli.console import CliError, output
from cli.device_findings import Finding, device_findings
from cli.models import choose_model
from cli.redis_findings import redis_findings

MIN_PYTHON = (3, 11)
API_PACKAGES = ("fastapi", "uvicorn", "redis", "msgspec", "pillow")
WORKER_PACKAGES = ("torch", "numpy", "youtokentome", "safetensors", "huggingface-hub")


def doctor(
    model: options.Model = None,
    preset: options.Preset = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    redis_url: options.RedisUrl = None,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    redis_server: options.RedisServer = None,
    queue: options.Queue = "rudolph",
) -> int:
    """Check this machine. Exits with 1 if something that the server needs is missing."""
    table = Table("", "what", "found", "what to do", box=None)
    colours = {"ok": "green", "note": "yellow", "missing": "red"}
    missing = 0
    findings = (
        *_findings(model, preset, device, dtype),
        *redis_findings(redis_url, queue, data_dir / "redis", redis_server),
    )
    for finding in findings:
        table.add_row(
            Text(finding.state, colours[finding.state]), finding.what, finding.detail, finding.remedy
        )
        missing += finding.state == "missing"
    output.print(table)
    return 1 if missing else 0


def _findings(model: Path | None, preset: str | None, device: str, dtype: str) -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info >= MIN_PYTHON:
        yield Finding("Python", "ok", version)
    else:
        yield Finding("Python", "missing", version, "install Python 3.11 or newer")
    yield _packages("API packages", API_PACKAGES, "pip install -e .")
    worker = _packages("worker packages", WORKER_PACKAGES, "pip install -e '.[worker]'")
    yield worker
    if worker.state == "ok":
        yield from device_findings(device, dtype, model, preset)
        yield _checkpoint(model, preset)


def _packages(what: str, names: tuple[str, ...], remedy: str) -> Finding:
    found: list[str] = []
    absent: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        return Finding(what, "missing", f"missing: {', '.join(absent)}", remedy)
    return Finding(what, "ok", ", ".join(found))


def _checkpoint(model: Path | None, preset: str | None) -> Finding:
    """Load the checkpoint, because an existing file may be damaged or of another model."""
    from model.files.checkpoint import CheckpointError, load_rudolph

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
