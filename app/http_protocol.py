"""uvicorn's HTTP protocol with the limits that apply to a connection.

No ASGI application ever sees a slow sender of headers, an endless header, endless chunk framing, or a reader
that takes nothing. A request for an upgrade is served as plain HTTP/1.1, with its body.

pyproject.toml pins the minor versions of uvicorn and httptools, since this module uses names that they do not
document: `parser`, `scope`, `url`, `headers`, `cycle`, `pipeline`, `expect_100_continue`,
`_unset_keepalive_if_required`, `timeout_keep_alive_task`, and the offset in HttpParserUpgrade.
"""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.connections import Connections, site_of
from app.errors import ApiError
from app.http_heads import check_head, refusal, without_upgrade
from app.middleware import DRAIN_BYTES
from app.settings import Settings

LEFTOVER_S = 5.0
"""Seconds to keep reading a request body after the response was sent."""
FRAMING_BYTES = 64 << 10
"""Bytes that chunk sizes, extensions and trailers of a message may need in addition to the body."""
PIECE_BYTES = 4096
"""The parser gets a packet in pieces of this size: bytes are counted by piece."""
HEALTH_PATH = b"/health"
MAX_PIPELINED = 100
"""Requests of one connection that may wait for the response to an earlier one."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's own protocol, with limits on headers, framing, time, and the number of connections."""

    limits: Settings
    open_connections: Connections
    """Of all instances of the class."""

    _site = ""
    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _leftover_timer: asyncio.TimerHandle | None = None
    _in_message = False
    _in_body = False
    """The head is complete and `cycle` answers it; the message is not."""
    _num_head_bytes = 0
    _num_body_bytes = 0
    """Of the current piece."""
    _body_parts: list[bytes]
    """Of the current piece, not yet delivered."""
    _num_framing_bytes = 0
    _num_message_bytes = 0
    """After the head."""
    _head_to_replay = b""
    _is_extra = False
    """All connections were taken when this one was opened."""
    _refusal: bytes | None = None
    """The last response of the connection. Nothing is parsed any more."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._body_parts = []
        self._await_headers()
        self._site = site_of(self.client[0]) if self.client else ""
        self.open_connections.opened(self)
        self._is_extra = self.open_connections.is_full
        if self.open_connections.is_overfull:
            self._refuse(_too_many_connections())
        else:
            self.open_connections.idle(self, self._site)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_connections.closed(self)
        for timer in (self._header_timer, self._write_timer, self._leftover_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # uvicorn's own method loses the body of a request for an upgrade, and parses it as further requests.
        if self.transport.is_closing():
            return
        if self._refusal is not None:
            self.flow.pause_reading()
            return
        view = memoryview(data)
        try:
            for start in range(0, len(view), PIECE_BYTES):
                self._feed(view[start : start + PIECE_BYTES])
        except ApiError as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            # A callback's exception stops the parser, which keeps it as the context of its own.
            cause = error.__context__
            fault = ApiError(400, "bad_request", "This is not a valid HTTP request.")
            self._refuse(cause if isinstance(cause, ApiError) else fault)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # Empty lines between two requests are data, but no reason to keep the connection.
        self._unset_keepalive_if_required()
        self._await_headers()
        self._in_message = True

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields after the head are trailers, which a server may drop and must not merge: RFC 9110 §6.5.1.
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits.max_header_bytes or len(self.headers) > self.limits.max_headers:
            raise self._headers_too_large()
        method, version = self.parser.get_method(), self.parser.get_http_version()
        check_head(method, version, self.headers)
        if self.parser.should_upgrade():
            self._head_to_replay = without_upgrade(method, self.url, version, self.headers)
            return
        if self._is_extra and self.open_connections.is_full and not self.url.startswith(HEALTH_PATH):
            raise _too_many_connections()
        if len(self.pipeline) >= MAX_PIPELINED:
            message = f"At most {MAX_PIPELINED} requests of a connection may wait for earlier responses."
            raise ApiError(429, "too_many_pipelined", message, retry_after_s=1)
        if version == "1.0":  # RFC 9110 §10.1.1
            self.expect_100_continue = False
        self.open_connections.busy(self)
        super().on_headers_complete()
        if version == "1.0":
            # Without a length the response ends with the connection: HTTP/1.0 has no chunks, RFC 9112 §6.1.
            self.cycle.chunked_encoding = False
            self.cycle.expected_content_length = _UntilClose()
        self._in_body, self._num_framing_bytes, self._num_message_bytes = True, 0, 0

    def on_body(self, body: bytes) -> None:
        # A chunk may be one byte, so what is done for each is little.
        self._body_parts.append(body)

    def on_message_complete(self) -> None:
        if self._head_to_replay:
            return
        self._deliver_body()
        self._in_message = self._in_body = False
        super().on_message_complete()
        if not self.parser.should_keep_alive():
            # Also after `Connection: close` in a trailer: the parser skips everything that follows.
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
        if self._leftover_timer:
            self._leftover_timer.cancel()
            self._leftover_timer = None
            self.open_connections.idle(self, self._site)
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        if not is_last or self.transport.is_closing():
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
            return
        if self._in_message:  # the connection is not idle
            self._unset_keepalive_if_required()
        if not self._in_body:
            self.open_connections.idle(self, self._site)
        else:
            self._leftover_timer = self.loop.call_later(LEFTOVER_S, self.transport.close)

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

    def close_idle(self) -> None:
        self.transport.close()

    def _feed(self, piece: memoryview) -> None:
        while piece:
            piece = self._parse(piece)
            if self._head_to_replay:
                # httptools skips the body of an upgrade: another parser takes the message from its start.
                head, self._head_to_replay = self._head_to_replay, b""
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
                self._parse(memoryview(head))

    def _parse(self, piece: memoryview) -> memoryview:
        """Parse and count the piece. Return the bytes after a head that requests an upgrade."""
        message, was_in_body, self._num_body_bytes = self.scope, self._in_body, 0
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            return piece[upgrade.args[0] :]
        self._deliver_body()
        # A message that began in this piece is counted from the next one.
        if self._in_message and self.scope is message:
            self._count(len(piece), was_in_body=was_in_body)
        return piece[:0]

    def _deliver_body(self) -> None:
        if self._body_parts:
            body = b"".join(self._body_parts)
            self._body_parts.clear()
            self._num_body_bytes += len(body)
            super().on_body(body)

    def _count(self, num_bytes: int, *, was_in_body: bool) -> None:
        if not self._in_body:
            self._num_head_bytes += num_bytes
            if self._num_head_bytes > self.limits.max_header_bytes:
                raise self._headers_too_large()
        elif was_in_body:
            # A byte of the body allows one of framing. It allows none later, so trailers stay short.
            surplus = num_bytes - 2 * self._num_body_bytes
            self._num_framing_bytes = max(self._num_framing_bytes + surplus, 0)
            self._num_message_bytes += num_bytes
            if self._num_framing_bytes > FRAMING_BYTES:
                message = "Chunk sizes, chunk extensions and trailers are too long for the body."
                raise ApiError(413, "framing_too_large", message)
            if self._num_message_bytes > self.limits.max_body_bytes + DRAIN_BYTES:
                message = f"The body may have {self.limits.max_body_bytes} bytes at most."
                raise ApiError(413, "body_too_large", message)

    def _await_headers(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
        self._num_head_bytes = 0
        self._header_timer = self.loop.call_later(self.limits.header_timeout_s, self._headers_too_slow)

    def _headers_too_slow(self) -> None:
        if self._in_message:
            message = "The request's headers did not arrive in time."
            self._refuse(ApiError(408, "header_timeout", message))
        else:
            self.transport.close()

    def _headers_too_large(self) -> ApiError:
        limits = self.limits
        message = f"Headers may have {limits.max_header_bytes} bytes and {limits.max_headers} fields at most."
        return ApiError(431, "headers_too_large", message)

    def _refuse(self, error: ApiError) -> None:
        """Close the connection after the responses to earlier requests and this one."""
        if self._refusal is not None or self.transport.is_closing():
            return
        self._refusal = refusal(error)
        if self._header_timer:
            self._header_timer.cancel()
        cycle = self.cycle
        if self._in_body and self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # not started; earlier requests are still to be answered
        elif self._in_body:
            cycle.disconnected = True
            cycle.message_event.set()
            self._send_refusal(b"" if cycle.response_started else self._refusal)
        elif cycle is None or cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self._send_refusal(self._refusal)

    def _send_refusal(self, response: bytes) -> None:
        self.transport.write(response)
        self.transport.close()


def _too_many_connections() -> ApiError:
    message = "All connections are taken. Try again soon."
    return ApiError(503, "too_many_connections", message, retry_after_s=1)


class _UntilClose(int):
    """A content length that is never used up and never missing."""

    def __sub__(self, _: int) -> "_UntilClose":
        return self

    def __lt__(self, _: int) -> bool:
        return False

    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = int.__hash__
