"""A collector of traces as others run them: OTLP over HTTP on a free port, in the protocol's protobuf."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

WAIT_S = 30.0


@dataclass(frozen=True)
class Received:
    """A span as it arrived; ids in hexadecimal, no parent as an empty string."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    events: list[str]
    seconds: float


class Collector:
    def __init__(self) -> None:
        self.spans: list[Received] = []
        self._arrival = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                collector._take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What sends a process's spans here, and soon."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def wait_for(self, **wanted: object) -> Received:
        """The first span of these fields and attributes (`rudolph_job_id` for `rudolph.job.id`)."""
        deadline_s = time.monotonic() + WAIT_S
        with self._arrival:
            while not (found := [span for span in self.spans if _fits(span, wanted)]):
                left_s = deadline_s - time.monotonic()
                assert left_s > 0, f"no span has {wanted}: {self.spans}"
                self._arrival.wait(left_s)
            return found[0]

    def _take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        arrived = [
            _received(_values(group.resource.attributes)["service.name"], span)
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        with self._arrival:
            self.spans += arrived
            self._arrival.notify_all()


def _received(service: str, span: Span) -> Received:
    return Received(
        service=service,
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
        events=[event.name for event in span.events],
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _values(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = str(value.WhichOneof("value"))
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)


def _fits(span: Received, wanted: dict[str, object]) -> bool:
    known = vars(span) | {name.replace(".", "_"): value for name, value in span.attributes.items()}
    return all(known.get(name) == value for name, value in wanted.items())
