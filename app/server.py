"""How the application is put on a socket: uvicorn's options, and the limits that only the connection can
keep.

A slow sender of headers, an endless header, a reader that takes nothing: all are cut off here, since no ASGI
application ever sees them.
"""

import asyncio
import uuid

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import ApiError
from app.settings import Settings

LEFTOVER_S = 5.0
"""How long the rest of a body may still arrive behind its answer."""


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Everything uvicorn is told. Run it with `uvicorn.Server(server_config(create_app(s), s)).run()`."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded_protocol(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )


def guarded_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """A protocol class with the settings' limits; uvicorn makes one instance a connection."""

    class Guarded(GuardedProtocol):
        limits = settings

    return Guarded


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's own protocol, with limits on headers, on time, and on the number of connections."""

    limits: Settings

    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _leftover_timer: asyncio.TimerHandle | None = None
    _in_headers = True
    _num_header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "too_many_connections", "All connections are taken. Try again soon.")

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._write_timer, self._leftover_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        # Counted behind the parser: it may start a new message, and a new count, in the midst of `data`.
        self._num_header_bytes += len(data) if self._in_headers else 0
        if self._in_headers and self._num_header_bytes > self.limits.max_header_bytes:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._header_timer:
            self._header_timer.cancel()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits.max_header_bytes or len(self.headers) > self.limits.max_headers:
            self._refuse_headers()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # No cycle: the headers were refused, and what follows them belongs to nobody.
        if self.cycle is not None:  # pyright: ignore[reportUnnecessaryComparison]
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.cycle is not None:  # pyright: ignore[reportUnnecessaryComparison]
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            self._leftover_timer = self.loop.call_later(LEFTOVER_S, self._close_if_unfinished, self.cycle)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.limits.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", "This is not a valid HTTP request.")

    def _await_headers(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
        self._in_headers, self._num_header_bytes = True, 0
        self._header_timer = self.loop.call_later(self.limits.header_timeout_s, self._headers_too_slow)

    def _headers_too_slow(self) -> None:
        if self._num_header_bytes:
            self._refuse(408, "header_timeout", "The request's headers did not arrive in time.")
        else:
            self.transport.close()

    def _refuse_headers(self) -> None:
        limits = self.limits
        message = f"Headers may have {limits.max_header_bytes} bytes and {limits.max_headers} fields at most."
        self._refuse(431, "headers_too_large", message)

    def _close_if_unfinished(self, cycle: object) -> None:
        if self.cycle is cycle and self.cycle.more_body:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self.transport.is_closing():
            return
        error = ApiError(status, code, message, retry_after_s=1 if status == 503 else None)
        body = msgspec.json.encode(error.body())
        lines = [
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
            b"x-content-type-options: nosniff",
            b"x-request-id: " + uuid.uuid4().hex.encode(),
            *(f"{name}: {value}".encode("latin-1") for name, value in error.headers.items()),
        ]
        self.transport.write(STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()
