"""Opens OpenTelemetry's SDK, which samples spans and sends them to a collector by OTLP over HTTP.

Loaded only where tracing is configured; needs the extra `tracing`. The SDK reads its own OTEL_* variables. No
global provider is set. Ended spans wait in a queue of the SDK and are dropped when it is full, so no request
waits for the collector.
"""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def open_provider(service: str) -> TracerProvider:
    """Return a provider whose spans are sent. Raises ValueError for wrong OTEL_* variables."""
    # Attributes from the environment replace the service name given here.
    resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
