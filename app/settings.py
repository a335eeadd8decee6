"""Settings of the HTTP side, from RUDOLPH_* environment variables. Sizes in bytes, times in seconds.

Only entry points read them; everything else gets values.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.proxies import PREFIX_PATTERN
from images.bounds import MAX_IMAGE_BYTES
from jobs.redis.address import check_url

Names = Annotated[tuple[str, ...], NoDecode]
"""A list of names in a variable: separated by commas, or as JSON."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="RUDOLPH_", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    # Addresses.
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """Port to listen on; 0 for a free one."""
    redis_url: str | None = Field(
        default=None,
        description="URL of Redis; ?password_file=PATH takes the password from a file. "
        "Without a URL, `rudolph serve` starts its own.",
    )
    root_path: str = Field(
        default="",
        pattern=f"^{PREFIX_PATTERN}$",
        description="Path of the server behind a proxy, such as /rudolph; X-Forwarded-Prefix replaces it.",
    )
    queue_name: str = Field(default="rudolph", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Name of the queue. Servers and workers with the same name and Redis share it."""
    forwarded_allow_ips: str = Field(
        default="127.0.0.1", description="Proxies whose X-Forwarded-* headers are trusted."
    )

    # Access.
    api_keys: SecretStr | None = Field(
        default=None,
        description="API keys: name=key,name=key. They close every route. An empty value is an error.",
    )
    api_keys_file: Path | None = Field(
        default=None, description="JSON file of API keys: a list of {name, sha256, tenant?, quotas}."
    )
    allowed_hosts: Names = ()
    """Host names of this server besides localhost, its addresses and RUDOLPH_HOST: name,*.name; * for any.
    Without keys all others are refused. With keys they are refused only if this is set."""
    cors_origins: Names = ()
    """Origins whose web pages may call the API: https://example.org,https://example.com; * for any."""
    served_model_name: Names = ()
    """Names of the model on OpenAI's routes, separated by commas; * accepts any. Empty: its own name."""
    docs: bool = True
    """Serve the reference at /docs and /openapi.json."""
    playground: bool = True
    """Serve the playground at /."""
    metrics: bool = True
    """Serve Prometheus metrics at /metrics."""

    mcp: bool = False
    """Serve the tasks as tools of the Model Context Protocol at /mcp; needs the extra `mcp`."""

    # The queue's limits.
    max_queue_depth: int = Field(default=1000, ge=1)
    """Queued jobs; further requests are refused with 503."""
    max_queue_bytes: int = Field(default=1 << 30, ge=1)
    """Input bytes of all queued and running jobs."""
    tenant_max_jobs: int = Field(default=1000, ge=1)
    """Queued and running jobs of one tenant; further ones are refused with 429."""
    job_ttl_s: int = Field(
        default=3600, ge=10, description="Time that a finished job and its result are kept."
    )
    wait_replicas: Annotated[int, Field(ge=0, le=16)] | Literal["all"] = 0
    """Replicas of Redis that must have a job before it counts as accepted; `all`: every connected one."""
    wait_timeout_ms: int = Field(default=1000, ge=1, le=60_000)
    """Milliseconds to wait for these replicas."""

    # Deadlines of jobs.
    request_timeout_s: float = Field(
        default=300, gt=0, le=86_400, description="Deadline of a synchronous request."
    )
    disconnect_grace_s: float = Field(
        default=5,
        ge=0,
        le=60,
        description="Time that a job with an idempotency key continues without a waiting client.",
    )

    # OpenAI's routes.
    strict_size: bool = Field(default=False, description="Refuse sizes that the model does not draw.")
    chat_text: Literal["caption", "template", "refuse"] = Field(
        default="caption",
        description="A text beside an image, for a checkpoint that only describes: ignore it with a warning, "
        "begin the description with it, or refuse.",
    )

    # Limits of one client.
    max_body_bytes: int = Field(default=16_000_000, ge=1024)
    """Bytes of one request body; more is refused with 413."""
    max_bodies_bytes: int = Field(
        default=256_000_000, ge=1024, description="Bytes of all request bodies in memory."
    )
    max_picture_bytes: int = Field(default=MAX_IMAGE_BYTES, ge=1024, le=MAX_IMAGE_BYTES)
    """Bytes of one image."""
    picture_threads: int = Field(default=2, ge=1, le=64)
    """Threads that decode images for their checks."""
    max_pictures_waiting: int = Field(
        default=512, ge=1, description="Images that may wait for a decoding thread."
    )
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    """Bytes of the request line and all headers."""
    max_headers: int = Field(default=100, ge=10)
    """Number of headers."""
    header_timeout_s: float = Field(default=10, gt=0)
    """Time until the whole head of a request must have arrived."""
    body_timeout_s: float = Field(
        default=60, gt=0, description="Time until the whole body must have arrived."
    )
    body_idle_timeout_s: float = Field(default=10, gt=0, description="Time between two pieces of the body.")
    write_timeout_s: float = Field(
        default=30, gt=0, description="A client that reads nothing for this long is disconnected."
    )
    keep_alive_s: int = Field(default=75, ge=1)
    """Time that an idle connection stays open. A proxy must close its own ones earlier (most do after 60 s):
    a request on a connection that is being closed fails."""
    max_connections: int = Field(default=4096, ge=1)
    """Open connections. Idle ones give way to new ones; if all are busy, only health checks are answered."""
    max_idle_connections_per_address: int = Field(default=1024, ge=1)
    """Connections of one client that wait for a request. The oldest ones are closed."""

    # Event streams.
    max_event_streams: int = Field(default=1000, ge=1)
    """Open event streams; further ones are refused with 503."""
    tenant_max_event_streams: int = Field(default=200, ge=1)
    """Open event streams of one tenant; further ones are refused with 429."""
    event_keep_alive_s: float = Field(default=15, gt=0)
    """Time between comments on a stream without events."""

    shutdown_grace_s: int = Field(
        default=30, ge=0, description="Time after SIGTERM in which open requests may finish."
    )
    log_format: Literal["json", "console"] = "json"
    """Lines for machines or for people. `rudolph serve` writes console lines to a terminal."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least important level that is logged."""

    @field_validator("allowed_hosts", "cors_origins", "served_model_name", mode="before")
    @classmethod
    def _read_names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @field_validator("mcp")
    @classmethod
    def _check_mcp(cls, wanted: bool) -> bool:
        if wanted and find_spec("mcp") is None:
            raise ValueError("needs the package mcp; install it with pip install -e '.[mcp]'")
        return wanted

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str | None) -> str | None:
        return check_url(url) if url is not None else None
