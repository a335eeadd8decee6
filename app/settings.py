"""What can be set about the HTTP side, from RUDOLPH_* environment variables. Sizes in bytes, times in
seconds.

Read once, by the entry points; everything below gets values.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="RUDOLPH_", extra="ignore", frozen=True)

    # Where it listens, and where the queue is.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    redis_url: str | None = Field(
        default=None, description="redis://, rediss://, unix:// …; `rudolph serve` starts one"
    )
    queue_name: str = Field(default="rudolph", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    forwarded_allow_ips: str = Field(
        default="127.0.0.1", description="Proxies whose X-Forwarded-* headers are believed"
    )

    # Who may ask.
    api_keys: SecretStr | None = Field(
        default=None, description="name=key pairs, comma-separated; closes every route"
    )
    api_keys_file: Path | None = Field(
        default=None, description="JSON list of {name, sha256, tenant?, quotas}"
    )
    cors_origins: tuple[str, ...] = ()
    docs: bool = True
    playground: bool = True
    metrics: bool = True

    # The queue's limits.
    max_queue_depth: int = Field(default=1000, ge=1)
    max_queue_bytes: int = Field(default=1 << 30, ge=1)
    tenant_max_jobs: int = Field(default=1000, ge=1)
    job_ttl_s: int = Field(default=3600, ge=10, description="How long a finished job's result is kept")
    wait_replicas: int = Field(default=0, ge=0, le=16)
    wait_timeout_ms: int = Field(default=1000, ge=1, le=60_000)

    # Deadlines of jobs.
    request_timeout_s: float = Field(
        default=300, gt=0, le=86_400, description="Deadline of a synchronous request"
    )
    disconnect_grace_s: float = Field(
        default=5,
        ge=0,
        le=60,
        description="A job with an idempotency key outlives its last reader by this long",
    )

    # What one client may send, and how slowly.
    max_body_bytes: int = Field(default=16_000_000, ge=1024)
    max_bodies_bytes: int = Field(
        default=256_000_000, ge=1024, description="All request bodies held at one time"
    )
    max_picture_bytes: int = Field(default=10_000_000, ge=1024)
    picture_threads: int = Field(default=2, ge=1, le=64)
    max_pictures_waiting: int = Field(
        default=512, ge=1, description="Pictures that may wait for a decoding thread"
    )
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    max_headers: int = Field(default=100, ge=10)
    header_timeout_s: float = Field(default=10, gt=0)
    body_timeout_s: float = Field(default=60, gt=0, description="For the whole body")
    body_idle_timeout_s: float = Field(default=10, gt=0, description="Between two pieces of the body")
    write_timeout_s: float = Field(
        default=30, gt=0, description="A reader that takes nothing for this long is cut off"
    )
    keep_alive_s: int = Field(default=15, ge=1)
    max_connections: int = Field(default=4096, ge=1)

    # Event streams.
    max_event_streams: int = Field(default=1000, ge=1)
    tenant_max_event_streams: int = Field(default=200, ge=1)
    event_keep_alive_s: float = Field(default=15, gt=0)

    shutdown_grace_s: int = Field(default=30, ge=0, description="Open requests may finish for this long")
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
