"""What every request passes: its id, log line and metrics, security headers, the catch-all error handler, and
limits of its body.

Plain ASGI, so that a body is counted while it streams and nothing is buffered here.
"""

import asyncio
import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import CLIENT_CLOSED_REQUEST, ApiError, ClientGone, internal_error
from telemetry.logging import get_logger
from telemetry.metrics import ApiMetrics
from telemetry.tracing import Tracer

_VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
_PROBES = ("/health", "/metrics")
"""Requested every few seconds by monitoring, so neither logged nor traced."""
_REFUSALS = (429, 503)
DRAIN_S = 5.0
DRAIN_BYTES = 64 << 20


class ContextMiddleware:
    """The outermost layer: every reply has an id, security headers, and one line in the log."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics, tracer: Tracer) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._no_tracer = Tracer()
        self._log = get_logger("app.request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        headers = Headers(scope=scope)
        sent = headers.get("x-request-id", "")
        request_id = sent if _VALID_ID.fullmatch(sent) else uuid.uuid4().hex
        scope["request_id"] = request_id
        tracer = self._no_tracer if scope["path"].startswith(_PROBES) else self._tracer
        span = tracer.request(scope["method"], headers, request_id)
        scope["traceparent"] = span.traceparent
        status, fault = 0, None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), request_id)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id, **span.log_fields):
            try:
                await self._app(scope, receive, send_with_headers)
            except ClientGone:
                status = CLIENT_CLOSED_REQUEST
            except Exception as error:
                fault = type(error).__name__
                self._log.exception("unhandled", method=scope["method"], path=scope["path"])
                if status:
                    raise
                await internal_error().response()(scope, receive, send_with_headers)
            finally:
                # The route's template, not the raw path: otherwise clients could create any number of labels.
                route: str | None = getattr(scope.get("route"), "path", None) or None
                status = status or CLIENT_CLOSED_REQUEST
                self._count(scope, route or "unmatched", status, time.perf_counter() - started_s)
                span.end(route, status, fault)

    def _count(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        traceparent: str | None = scope["traceparent"]
        trace_id = traceparent.split("-")[1] if traceparent else None
        self._metrics.count_request(route, status, seconds, trace_id)
        if route.startswith(_PROBES):
            return
        code: str | None = scope.get("error_code")
        if code is not None and status in _REFUSALS:
            self._metrics.refusals_total.labels(code).inc()
        fields = {} if code is None else {"code": code}
        self._log.info(
            "request", method=scope["method"], route=route, status=status, seconds=round(seconds, 4), **fields
        )


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    is_page = headers.get("content-type", "").startswith(("text/html", "text/css", "text/javascript"))
    headers["x-request-id"] = request_id
    headers["x-content-type-options"] = "nosniff"
    headers["x-frame-options"] = "DENY"
    headers["referrer-policy"] = "no-referrer"
    headers["content-security-policy"] = _PAGE_POLICY if is_page else _DATA_POLICY
    headers.setdefault("cache-control", "no-cache" if is_page else "no-store")


class BodyLimitMiddleware:
    """Refuses a body that is too long or arrives too slowly, without reading it whole."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, idle_timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._idle_timeout_s = idle_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        started = False

        async def send_and_notice(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check_announced(headers.get("content-length"))
            await self._app(scope, self._limited(receive), send_and_notice)
        except ApiError as error:
            if started:
                raise
            await _refuse(error, scope, receive, send, may_drain="expect" not in headers)

    def _check_announced(self, length: str | None) -> None:
        if length is not None and length.isdigit() and int(length[:20]) > self._max_bytes:
            raise self._too_large()

    def _limited(self, receive: Receive) -> Receive:
        num_bytes = 0
        done = False
        deadline_s: float | None = None

        async def limited() -> Message:
            nonlocal num_bytes, done, deadline_s
            if done:
                return await receive()
            now_s = time.monotonic()
            deadline_s = deadline_s or now_s + self._timeout_s
            try:
                async with asyncio.timeout(min(self._idle_timeout_s, max(deadline_s - now_s, 0))):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            if message["type"] == "http.request":
                num_bytes += len(message.get("body", b""))
                done = not message.get("more_body", False)
                if num_bytes > self._max_bytes:
                    raise self._too_large()
            return message

        return limited

    def _too_large(self) -> ApiError:
        message = f"The body may have {self._max_bytes} bytes at most. Send smaller or fewer images."
        return ApiError(413, "body_too_large", message, headers={"Connection": "close"})

    def _too_slow(self) -> ApiError:
        message = (
            f"The body did not arrive in time: at most {self._idle_timeout_s:g} s between two pieces and "
            f"{self._timeout_s:g} s in all. Send the request again."
        )
        headers = {"Connection": "close", "x-should-retry": "false"}
        return ApiError(408, "body_timeout", message, headers=headers)


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send, *, may_drain: bool) -> None:
    """Send the error, then read on for a while: an immediate close could reset the connection."""
    last: list[Message] = []

    async def hold_back(message: Message) -> None:
        if message["type"] == "http.response.body":
            last.append({**message, "body": b""})
            message = {**message, "more_body": True}
        await send(message)

    await error.response()(scope, receive, hold_back)
    if may_drain and error.status == 413:
        await _drain(receive)
    for message in last:
        await send(message)


async def _drain(receive: Receive) -> None:
    num_bytes = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            more = True
            while more and num_bytes < DRAIN_BYTES:
                message = await receive()
                num_bytes += len(message.get("body", b""))
                more = message["type"] == "http.request" and message.get("more_body", False)
    except TimeoutError:
        return
