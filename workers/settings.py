"""Settings of a worker, from RUDOLPH_* environment variables. Sizes in bytes, times in seconds.

Only entry points read them; all other modules are given values.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.redis.address import check_url
from model.text_normalization import Normalization
from workers.devices import check_device

Dtype = Literal["auto", "float16", "bfloat16", "float32"]


class WorkerSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="RUDOLPH_", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    # The queue.
    redis_url: str | None = None
    """URL of Redis: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.
    ?password_file=PATH takes the password from a file."""
    queue_name: str = Field(default="rudolph", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Name of the queue. Servers and workers with the same name and Redis share it."""

    # The model.
    model: Path | None = None
    """Folder of a checkpoint in the official file layout."""
    preset: str | None = None
    """Architecture of a folder without config.json, e.g. 350M."""
    generation_config: str = "auto"
    """Sampling defaults and examples: auto (the checkpoint's own file), none (the published defaults), or the
    path of a generation_config.json."""
    normalize: Normalization = "unicode"
    """unicode: texts that look the same are read the same. none: exactly as the published packages."""
    device: str = "auto"
    """Device of the worker: auto, cpu, cuda or cuda:N."""
    dtype: Dtype = "auto"
    """Number format of the network; auto is float16 on CUDA and bfloat16 or float32 on a CPU."""
    weight_format: Literal["auto", "bf16", "packed12", "int8"] = "auto"
    """Storage of weights on a CPU with kernels in C. bf16 keeps every bit; packed12 rounds the smallest
    weights; int8 is faster, at some loss of quality (docs/adr/0011-int8-weights.md). auto is packed12 where
    the processor multiplies bfloat16, else bf16."""
    slots: int | None = Field(default=None, ge=2, le=1024)
    """Sequences that run at a time. Not set: 256 on CUDA, 16 on a CPU."""
    step_tokens: int | None = Field(default=None, ge=1)
    """Positions of prompts and scoring between two decode steps; fewer need less memory. Not set: 16384 on
    CUDA."""
    gpu_share: int = Field(default=1, ge=1, le=64)
    """Workers that share the GPU; each may use this part of its memory. `rudolph serve` and `rudolph worker`
    set it for the workers that they start."""
    cpu_threads: int | None = Field(default=None, ge=1)
    """Threads of one operation. Not set: the number of physical cores."""

    # Leases, drain and watchdog.
    lease_s: float = Field(default=15, gt=0)
    """Time that a claimed job stays with its worker without a renewal."""
    renew_every_s: float = Field(default=0.5, gt=0)
    """Time between renewals; a cancelled job leaves its batch at the next one."""
    emit_grace_s: float = Field(default=12, gt=0)
    """Without a successful renewal for this long the worker sends nothing."""
    drain_s: float = Field(default=30, ge=0)
    """Time after SIGTERM in which running jobs may finish."""
    watchdog_s: float | None = Field(default=None, gt=0)
    """A step that takes longer counts as hung. Not set: 60 on CUDA, 300 on a CPU."""

    # Identity, metrics and logs.
    worker_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,100}$")
    """Name of the worker in logs and metrics; its restarts are not counted. Not set: the host name with a
    random suffix."""
    worker_metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """HTTP port for the worker's /metrics and /health. Not set: no port."""
    worker_metrics_host: str = "127.0.0.1"
    """Address of that port. It has no keys: open it only to Prometheus and to health checks."""
    log_format: Literal["json", "console"] = "json"
    """Lines for machines or for people."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least important level that is logged."""
    supervised: bool = False
    """Standard input is a pipe from a supervisor; the worker ends when it closes."""

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str | None) -> str | None:
        return check_url(url) if url is not None else None

    @field_validator("device")
    @classmethod
    def _check_device(cls, name: str) -> str:
        return check_device(name)
