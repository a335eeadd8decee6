"""Spans that are sent: their names and attributes, and OpenTelemetry's SDK, which samples and sends them.

Knows what a span is called and what it carries: of a request by the semantic conventions for HTTP, and
otherwise under `rudolph.`. Reads no setting; the SDK reads its own OTEL_* variables. Sets no global provider.
Nobody waits for the collector: ended spans go to a queue of the SDK's, and are dropped when that is full.
"""

import threading
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.tracing import AttemptSpan, RequestSpan, Tracer

CLOSE_S = 2.0
"""How long the last spans may take to leave; the SDK itself would wait half a minute for a dead collector."""

_w3c = TraceContextTextMapPropagator()


class SendingTracer(Tracer):
    """Raises ValueError for wrong OTEL_* variables."""

    def __init__(self, service: str, about: Mapping[str, str]) -> None:
        # The environment's words stand above ours.
        resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("rudolph")
        self._about = {f"rudolph.{name}": value for name, value in about.items()}

    def request(self, method: str, headers: Mapping[str, str], request_id: str) -> RequestSpan:
        attributes = {**self._about, "http.request.method": method, "rudolph.request.id": request_id}
        span = self._tracer.start_span(
            method, _w3c.extract(headers), kind=SpanKind.SERVER, attributes=attributes
        )
        return _SentRequest(span, method)

    def attempt(
        self, job_id: str, task: str, attempt: int, *, rows: int, queued_s: float, traceparent: str | None
    ) -> AttemptSpan:
        attributes: dict[str, str | int | float] = {
            **self._about,
            "rudolph.task": task,
            "rudolph.job.id": job_id,
            "rudolph.job.attempt": attempt,
            "rudolph.job.rows": rows,
            "rudolph.job.queue_seconds": queued_s,
        }
        parent = _w3c.extract({"traceparent": traceparent or ""})
        return _SentAttempt(
            self._tracer.start_span(task, parent, kind=SpanKind.CONSUMER, attributes=attributes)
        )

    def close(self) -> None:
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(CLOSE_S)


class _SentRequest(RequestSpan):
    def __init__(self, span: trace.Span, method: str) -> None:
        self._span = span
        self._method = method
        self.traceparent = _traceparent(span)

    def end(self, route: str | None, status: int, fault: str | None = None) -> None:
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if fault is not None or status >= 500:
            _fail(self._span, fault or str(status))
        self._span.end()


class _SentAttempt(AttemptSpan):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.traceparent = _traceparent(span)

    def first_partial(self) -> None:
        self._span.add_event("first_partial")

    def end(self, outcome: str, *, compute_s: float | None = None, failure: str | None = None) -> None:
        self._span.set_attribute("rudolph.job.outcome", outcome)
        if compute_s is not None:
            self._span.set_attribute("rudolph.job.compute_seconds", compute_s)
        if failure is not None:
            _fail(self._span, failure)
        self._span.end()


def _traceparent(span: trace.Span) -> str | None:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent")


def _fail(span: trace.Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
