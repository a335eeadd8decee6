"""Traces, where they are asked for: a span for each request, and below it one for each attempt of its job.

Knows what can be told to a tracer, and whether this process has one. The classes here record nothing: they
are what every room holds while tracing is off. Those that send stand in `telemetry.spans`, which is loaded
only where the environment asks for it, and needs the extra `tracing`. Does not know when anything happens.
"""

from collections.abc import Mapping

from telemetry.logging import get_logger

logger = get_logger("telemetry.tracing")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class _Span:
    traceparent: str | None = None
    """The span's place in its trace, as W3C writes it; None: there is no span."""

    @property
    def log_fields(self) -> dict[str, str]:
        """What log lines about the same work carry, so that logs and traces meet."""
        return {} if self.traceparent is None else {"trace_id": self.traceparent.split("-")[1]}


class RequestSpan(_Span):
    """One HTTP request."""

    def end(self, route: str | None, status: int, fault: str | None = None) -> None:
        """`route` is the template, where one matched; `fault` names an exception that nobody foresaw."""


class AttemptSpan(_Span):
    """One attempt of a job, from its claim to its commit."""

    def first_partial(self) -> None:
        """A client was shown something."""

    def end(self, outcome: str, *, compute_s: float | None = None, failure: str | None = None) -> None:
        """`failure` is the code of a failed job. A span that is never ended is never reported."""


class Tracer:
    """Begins spans."""

    def request(self, method: str, headers: Mapping[str, str], request_id: str) -> RequestSpan:
        """Continues the trace that the headers name."""
        return RequestSpan()

    def attempt(
        self, job_id: str, task: str, attempt: int, *, rows: int, queued_s: float, traceparent: str | None
    ) -> AttemptSpan:
        """A child of the span that `traceparent` names."""
        return AttemptSpan()

    def close(self) -> None:
        """Send what has ended, within a bounded time."""


def open_tracer(environment: Mapping[str, str], service: str, **about: str) -> Tracer:
    """The tracer that the standard OTEL_* variables ask for; one that records nothing where none do.

    Every span carries `about`. What stands in the way is said in the log, and nobody is kept from working.
    """
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or not any(environment.get(name) for name in _ENDPOINTS):
        return Tracer()
    try:
        from telemetry.spans import SendingTracer

        return SendingTracer(service, about)
    except ImportError as error:
        message = "there will be no traces: install the extra with pip install 'rudolph-server[tracing]'"
        logger.error("tracing_unavailable", message=message, error=str(error))
    except ValueError as error:
        message = "there will be no traces: one of the OTEL_* variables has a wrong value"
        logger.error("tracing_unavailable", message=message, error=str(error))
    return Tracer()
