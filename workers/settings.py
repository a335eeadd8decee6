"""What can be set about a worker, from RUDOLPH_* environment variables. Sizes in bytes, times in seconds.

Read once, by the entry points; everything below gets values.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Dtype = Literal["auto", "float16", "bfloat16", "float32"]


class WorkerSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="RUDOLPH_", extra="ignore", frozen=True)

    # Where the queue is.
    redis_url: str | None = None
    """redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"""
    queue_name: str = Field(default="rudolph", pattern=r"^[A-Za-z0-9_.-]{1,64}$")

    # What it runs.
    model: Path | None = None
    """Folder of a checkpoint in the official file layout."""
    preset: str | None = None
    """Architecture of a folder without config.json, e.g. 350M."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    dtype: Dtype = "auto"
    int8_weights: bool = False
    """On a CPU: faster, at some loss of quality (docs/adr/int8-weights.md)."""
    slots: int | None = Field(default=None, ge=2, le=1024)
    """Sequences held at a time; None: by device."""
    cpu_threads: int | None = Field(default=None, ge=1)
    """Threads of one operation; None: the physical cores."""

    # How it keeps the promises of the queue.
    lease_s: float = Field(default=15, gt=0)
    """How long a claimed job stays its own without a renewal."""
    renew_every_s: float = Field(default=0.5, gt=0)
    """A cancelled job leaves its batch at the next renewal."""
    emit_grace_s: float = Field(default=12, gt=0)
    """Without a renewal for this long it says nothing more."""
    drain_s: float = Field(default=30, ge=0)
    """After SIGTERM running jobs may finish for this long."""
    watchdog_s: float | None = Field(default=None, gt=0)
    """A step that takes longer is hung; None: by device."""

    # What it says of itself.
    worker_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,100}$")
    worker_metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """HTTP port of the worker's own /metrics and /health."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    supervised: bool = False
    """Standard input is a pipe that closes when the supervisor dies."""
