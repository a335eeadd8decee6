"""Structured logs: one line for each event, as JSON for machines or as columns for people.

Removes keys, cookies and the bytes of images from every line. Does not know what is logged.
"""

import logging
import sys
from collections.abc import MutableMapping
from functools import partial
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

SECRET_FIELDS = frozenset(
    {"authorization", "api_key", "api_keys", "cookie", "set_cookie", "password", "secret", "token"}
)
IMAGE_FIELDS = frozenset({"image", "images", "mask", "b64_json", "data"})
MAX_STRING = 500
"""Maximum number of characters of a value in a line; an image in base64 is far longer."""


def configure_logging(*, json: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Write the lines of structlog and of the standard library's loggers to `stream`, in one format.

    `stream` defaults to standard error. A second call replaces the configuration of the first.
    """
    target = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        redact,
    ]
    renderers = _renderers(json=json, stream=target)
    # structlog's lines do not pass through the standard library, which took three quarters of their time.
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=partial(_Writer, target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server_logger = logging.getLogger(name)
        server_logger.handlers = []
        server_logger.propagate = True


def get_logger(name: str) -> FilteringBoundLogger:
    return structlog.get_logger(name)


def present_trace_id() -> str | None:
    """Return the trace that the log lines of the present request have; None outside of a traced request."""
    return structlog.contextvars.get_contextvars().get("trace_id")


class _Writer(structlog.WriteLogger):
    """Writes lines to a stream. Has a name, as loggers of the standard library do."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        super().__init__(stream)
        self.name = name


def redact(_: WrappedLogger, __: str, event: EventDict) -> MutableMapping[str, Any]:
    """Replace secrets and images in a line, and shorten long values."""
    return {key: _safe(key, value) for key, value in event.items()}


def _safe(key: str, value: Any) -> Any:
    name = key.lower().replace("-", "_")
    if name in SECRET_FIELDS:
        return "[secret]"
    if name in IMAGE_FIELDS and value is not None and not isinstance(value, (int, float)):
        return "[image]"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    if isinstance(value, str) and len(value) > MAX_STRING:
        return f"{value[:MAX_STRING]}… [{len(value)} characters]"
    if isinstance(value, dict):
        return {k: _safe(str(k), v) for k, v in cast(dict[Any, Any], value).items()}
    return value


def _renderers(*, json: bool, stream: TextIO) -> list[Processor]:
    # No local variables in tracebacks, because they hold the requests of clients.
    if json:
        return [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    # Colours only in a terminal.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
