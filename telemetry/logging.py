"""Structured logs: one line an event, JSON for machines or columns for people, with the request's id on it.

Knows how a log line looks and what may never stand in one: keys, cookies, and the bytes of pictures.
Does not know what is worth logging.
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
PICTURE_FIELDS = frozenset({"image", "images", "mask", "b64_json", "data"})
MAX_STRING = 500
"""Characters of a value that a line keeps; a picture in base64 is far longer than anything worth reading."""


def configure_logging(*, json: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers (uvicorn's too) to `stream`, in one format.

    `stream` defaults to standard error. Calling it again replaces the earlier configuration.
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
    # Our own lines do not pass through the standard library, which takes three quarters of a line's time.
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


class _Writer(structlog.WriteLogger):
    """Writes whole lines to a stream; has a name, as loggers of the standard library do."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        super().__init__(stream)
        self.name = name


def redact(_: WrappedLogger, __: str, event: EventDict) -> MutableMapping[str, Any]:
    """Take secrets and pictures out of a line; shorten what is too long to be read."""
    return {key: _safe(key, value) for key, value in event.items()}


def _safe(key: str, value: Any) -> Any:
    name = key.lower().replace("-", "_")
    if name in SECRET_FIELDS:
        return "[secret]"
    if name in PICTURE_FIELDS and value is not None and not isinstance(value, (int, float)):
        return "[picture]"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    if isinstance(value, str) and len(value) > MAX_STRING:
        return f"{value[:MAX_STRING]}… [{len(value)} characters]"
    if isinstance(value, dict):
        return {k: _safe(str(k), v) for k, v in cast(dict[Any, Any], value).items()}
    return value


def _renderers(*, json: bool, stream: TextIO) -> list[Processor]:
    # No local variables in tracebacks: they hold what clients sent.
    if json:
        return [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    # Columns only get colours where a person is looking at them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
