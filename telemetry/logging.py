"""Structured logs: one line an event, JSON for machines or columns for people, with the request's id on it.

Knows how a log line looks and what may never stand in one: keys, cookies, and the bytes of pictures.
Does not know what is worth logging.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

SECRET_FIELDS = frozenset(
    {"authorization", "api_key", "api_keys", "cookie", "set_cookie", "password", "secret", "token"}
)
PICTURE_FIELDS = frozenset({"image", "images", "mask", "b64_json", "data"})
MAX_STRING = 500
"""Characters of a value that a line keeps; a picture in base64 is far longer than anything worth reading."""


def configure_logging(*, json: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers (uvicorn's too) through one formatter to `stream`.

    `stream` defaults to standard error. Calling it again replaces the earlier configuration.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, redact, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, redact], processors=_renderers(json=json, stream=target)
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server_logger = logging.getLogger(name)
        server_logger.handlers = []
        server_logger.propagate = True


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger(name)


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
    drop_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if json:
        return [
            drop_meta,
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    # Columns only get colours where a person is looking at them.
    plain = structlog.dev.plain_traceback
    return [drop_meta, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
