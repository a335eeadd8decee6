"""Traces: a span for each request, and below it a span for each attempt of its job.

Names and attributes of a request follow the semantic conventions for HTTP; others begin with `rudolph.`.
Attempts also have those for generative AI, where OTEL_SEMCONV_STABILITY_OPT_IN asks for them.
Without a configured collector all spans are the no-op spans of opentelemetry-api.
"""

import threading
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.logging import get_logger

logger = get_logger("telemetry.tracing")

CLOSE_S = 2.0
"""Time to send the last spans. The SDK alone would wait half a minute for an unreachable collector."""
GEN_AI_OPT_IN = "gen_ai_latest_experimental"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


Attributes = Mapping[str, str | bool | int | float | Sequence[str]]


class _Span:
    def __init__(self, span: trace.Span, traceparent: str | None) -> None:
        self._span = span
        self.traceparent = traceparent
        """The span's position in its trace in the W3C format; None while tracing is off."""

    @property
    def log_fields(self) -> dict[str, str]:
        """Fields that connect log lines with the trace."""
        return {} if self.traceparent is None else {"trace_id": self.traceparent.split("-")[1]}

    def _fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class RequestSpan(_Span):
    """One HTTP request."""

    def __init__(self, span: trace.Span, traceparent: str | None, method: str) -> None:
        super().__init__(span, traceparent)
        self._method = method

    def end(self, route: str | None, status: int, fault: str | None = None) -> None:
        """End the span. `route` is the matched template; `fault` names an unexpected exception."""
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if fault is not None or status >= 500:
            self._fail(fault or str(status))
        self._span.end()


class AttemptSpan(_Span):
    """One attempt of a job, from its claim to its commit. A span that is not ended is not reported."""

    def __init__(self, span: trace.Span, traceparent: str | None, *, has_gen_ai: bool) -> None:
        super().__init__(span, traceparent)
        self._has_gen_ai = has_gen_ai

    def first_partial(self) -> None:
        """Record that a partial result was published."""
        self._span.add_event("first_partial")

    def end(
        self,
        outcome: str,
        *,
        compute_s: float | None = None,
        failure: str | None = None,
        gen_ai: Callable[[], Attributes] = dict,
    ) -> None:
        """End the span. `failure` is the code of a failed job. `gen_ai` is called if they are asked for."""
        self._span.set_attribute("rudolph.job.outcome", outcome)
        if compute_s is not None:
            self._span.set_attribute("rudolph.job.compute_seconds", compute_s)
        if self._has_gen_ai:
            self._span.set_attributes(gen_ai())
        if failure is not None:
            self._fail(failure)
        self._span.end()


class Tracer:
    """Starts spans. `about` is added to every span as attributes."""

    def __init__(
        self,
        provider: trace.TracerProvider | None = None,
        about: Mapping[str, str] | None = None,
        *,
        shutdown: Callable[[], None] | None = None,
        has_gen_ai: bool = False,
    ) -> None:
        """Without `provider` tracing is off: spans record nothing, and no traceparent is read or written.

        `has_gen_ai`: attempts have the attributes for generative AI.
        """
        self._tracer = (provider or trace.NoOpTracerProvider()).get_tracer("rudolph")
        self._propagator = CompositePropagator(() if provider is None else (TraceContextTextMapPropagator(),))
        self._about = {f"rudolph.{name}": value for name, value in (about or {}).items()}
        self._shutdown = shutdown
        self._has_gen_ai = has_gen_ai and provider is not None
        self.is_on = provider is not None
        """Whether spans are recorded."""

    def request(self, method: str, headers: Mapping[str, str], request_id: str) -> RequestSpan:
        """Start the span of a request. It continues the trace of the header `traceparent`."""
        attributes = {**self._about, "http.request.method": method, "rudolph.request.id": request_id}
        span = self._start(method, headers, SpanKind.SERVER, attributes)
        return RequestSpan(span, self._traceparent(span), method)

    def attempt(
        self,
        job_id: str,
        task: str,
        attempt: int,
        *,
        num_sequences: int,
        queued_s: float,
        traceparent: str | None,
        gen_ai: Callable[[], Attributes] = dict,
    ) -> AttemptSpan:
        """Start the span of an attempt, a child of the span that `traceparent` names.

        `gen_ai` returns the attributes for generative AI. It is called if they are asked for.
        """
        attributes: Attributes = {
            **self._about,
            **(gen_ai() if self._has_gen_ai else {}),
            "rudolph.task": task,
            "rudolph.job.id": job_id,
            "rudolph.job.attempt": attempt,
            "rudolph.job.rows": num_sequences,
            "rudolph.job.queue_seconds": queued_s,
        }
        span = self._start(task, {"traceparent": traceparent or ""}, SpanKind.CONSUMER, attributes)
        return AttemptSpan(span, self._traceparent(span), has_gen_ai=self._has_gen_ai)

    def close(self) -> None:
        """Send the ended spans, for at most CLOSE_S seconds."""
        if self._shutdown is None:
            return
        last = threading.Thread(target=self._shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(CLOSE_S)

    def _start(
        self,
        name: str,
        carrier: Mapping[str, str],
        kind: SpanKind,
        attributes: Attributes,
    ) -> trace.Span:
        parent = self._propagator.extract(carrier)
        return self._tracer.start_span(name, parent, kind=kind, attributes=attributes)

    def _traceparent(self, span: trace.Span) -> str | None:
        if not span.get_span_context().is_valid:
            return None
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, trace.set_span_in_context(span))
        return carrier.get("traceparent")


def open_tracer(environment: Mapping[str, str], service: str, **about: str) -> Tracer:
    """Return the tracer that the standard OTEL_* variables configure; without an endpoint tracing is off.

    A fault in the configuration is logged, and tracing is off.
    """
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or not any(environment.get(name) for name in _ENDPOINTS):
        return Tracer()
    try:
        from telemetry.otlp import open_provider

        provider = open_provider(service)
    except ImportError as error:
        message = "Tracing is off: its packages are missing. Run: pip install -e '.[tracing]'"
        logger.error("tracing_unavailable", message=message, error=str(error))
    except ValueError as error:
        message = "Tracing is off, because one of the OTEL_* variables has a wrong value."
        logger.error("tracing_unavailable", message=message, error=str(error))
    else:
        opt_in = environment.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
        has_gen_ai = GEN_AI_OPT_IN in (name.strip() for name in opt_in)
        return Tracer(provider, about, shutdown=provider.shutdown, has_gen_ai=has_gen_ai)
    return Tracer()
