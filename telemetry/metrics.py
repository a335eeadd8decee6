"""The metrics of an API process and of a worker, and how those of several workers become one exposition.

Base units are seconds and bytes. A worker sends its metrics as text with its heartbeat. The API exports them
at each scrape, so the series of a worker end when its heartbeat expires. `telemetry.queue_metrics` has the
metrics of the queue.
"""

import platform
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

REQUEST_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 900, 3600,
)  # fmt: skip
STEP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60)
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
REDIS_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5)
BYTES_BUCKETS = (4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6)
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512)
MAX_TENANTS = 50
"""Tenants with series of their own in one process. The jobs of all others count as `other`."""
OTHER = "other"
REDIS_TEXT = "One command to Redis until its reply or failure, by script or plain command. No waits for work."
TraceId = Callable[[], str | None]


class CallTimes:
    """Observes seconds by name. Looks up a name in the histogram once, because that costs more than the rest.

    `trace_id` returns the trace of the present request, which becomes the exemplar.
    """

    def __init__(self, histogram: Histogram, trace_id: TraceId | None = None) -> None:
        self._histogram = histogram
        self._trace_id = trace_id
        self._by_name: dict[str, Histogram] = {}

    def __call__(self, name: str, seconds: float) -> None:
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name[name] = self._histogram.labels(name)
        trace_id = None if self._trace_id is None else self._trace_id()
        found.observe(seconds, None if trace_id is None else {"trace_id": trace_id})


class ApiMetrics:
    """Metrics of one API process."""

    def __init__(
        self, registry: CollectorRegistry, *, version: str = "", trace_id: TraceId | None = None
    ) -> None:
        """`trace_id` returns the trace of the present request; None: calls to Redis have no exemplars."""
        self.registry = registry
        self.requests_total = _counter(registry, "requests", "HTTP requests answered.", ("route", "status"))
        self.request_seconds = _seconds(
            registry,
            "request",
            "From the first byte of a request to the last byte of its response.",
            ("route",),
        )
        self.refusals_total = _counter(
            registry,
            "refusals",
            "Requests refused with 429 or 503, by the code of the error.",
            ("reason",),
        )
        self.jobs_accepted_total = _counter(
            registry,
            "jobs_accepted",
            f"Jobs accepted. Tenants after the first {MAX_TENANTS} count as `{OTHER}`.",
            ("task", "tenant"),
        )
        self._job_sequences = _histogram(
            registry,
            "job_sequences",
            "Sequences of an accepted job: candidates, two each with guidance, or texts and images to score.",
            ROW_BUCKETS,
            ("task",),
        )
        self._input_image_bytes = _histogram(
            registry, "input_image_bytes", "Size of an image in an accepted job.", BYTES_BUCKETS, ("task",)
        )
        self.redis_calls = CallTimes(
            _seconds(registry, "redis_call", REDIS_TEXT, ("call",), REDIS_BUCKETS_S), trace_id
        )
        self.event_loop_lag_seconds = _seconds(
            registry, "event_loop_lag", "Delay of a timer of the event loop.", buckets=LAG_BUCKETS_S
        )
        _build_info(registry, "build_info", version)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._tenants: set[str] = set()

    def count_request(self, route: str, status: int, seconds: float, trace_id: str | None) -> None:
        """Count an answered request. `trace_id` becomes the exemplar of its time."""
        self.requests_total.labels(route, str(status)).inc()
        exemplar = None if trace_id is None else {"trace_id": trace_id}
        self.request_seconds.labels(route).observe(seconds, exemplar)

    def count_job(self, task: str, tenant: str, *, sequences: int = 1, images: Iterable[bytes] = ()) -> None:
        """Count an accepted job and its inputs. `images` are image files."""
        self._job_sequences.labels(task).observe(sequences)
        for image in images:
            self._input_image_bytes.labels(task).observe(len(image))
        if len(self._tenants) < MAX_TENANTS:
            self._tenants.add(tenant)
        self.jobs_accepted_total.labels(task, tenant if tenant in self._tenants else OTHER).inc()


class WorkerMetrics:
    """Metrics of one worker process. `exposition` renders them for its heartbeat."""

    def __init__(self, registry: CollectorRegistry, *, version: str = "") -> None:
        self.registry = registry
        self.queue_seconds = _seconds(registry, "queue", "From acceptance of a job to its claim.")
        self.compute_seconds = _seconds(registry, "compute", "From claim to result.", ("task",))
        self.time_to_first_partial_seconds = _seconds(
            registry,
            "time_to_first_partial",
            "From acceptance of a job to its first partial image or text.",
        )
        self.step_seconds = _seconds(
            registry, "step", "One call of the model, by phase.", ("phase",), STEP_BUCKETS_S
        )
        self.redis_calls = CallTimes(
            _seconds(registry, "worker_redis_call", REDIS_TEXT, ("call",), REDIS_BUCKETS_S)
        )
        self.batch_rows = _histogram(registry, "batch_rows", "Sequences in a decode step.", ROW_BUCKETS)
        self.jobs_total = _counter(registry, "jobs", "Jobs finished.", ("task", "outcome"))
        self.images_total = _counter(registry, "images", "Images drawn.")
        self.tokens_total = _counter(registry, "tokens", "Tokens generated, image codes included.")
        self._input_tokens_total = _counter(
            registry, "input_tokens", "Tokens of the prompts and images of finished jobs.", ("kind",)
        )
        self.lease_lost_total = _counter(registry, "lease_lost", "Running jobs lost to another worker.")
        self.kv_slots_used = _gauge(registry, "kv_slots_used", "Cache slots in use.")
        self.kv_slots = _gauge(registry, "kv_slots", "Cache slots.")
        self.gpu_memory_bytes = _gauge(
            registry, "gpu_memory_bytes", "Memory of the CUDA device; zero on a CPU.", ("kind",)
        )
        """kind: allocated, reserved, total."""
        self.model_info = _gauge(
            registry,
            "model_info",
            "The loaded model; always 1.",
            ("model", "revision", "generation", "device", "dtype"),
        )
        self.model_load_seconds = _gauge(
            registry,
            "model_load_seconds",
            "Time of the start: to read the checkpoint, and to build the engine with its warm-up.",
            ("stage",),
        )
        """stage: checkpoint, engine."""
        # Names of their own: one exposition has the series of the API and of all workers.
        _build_info(registry, "worker_build_info", version)
        ProcessCollector(namespace="rudolph_worker", registry=registry)

    def count_input(self, tokens: int, image_tokens: int) -> None:
        """Count the input tokens of a finished job. `image_tokens` of them are image codes."""
        self._input_tokens_total.labels("text").inc(tokens - image_tokens)
        self._input_tokens_total.labels("image").inc(image_tokens)


def _build_info(registry: CollectorRegistry, name: str, version: str) -> None:
    text = "The release and the Python of the process; always 1."
    _gauge(registry, name, text, ("version", "python")).labels(version, platform.python_version()).set(1)


def _seconds(
    registry: CollectorRegistry,
    name: str,
    text: str,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = REQUEST_BUCKETS_S,
) -> Histogram:
    return _histogram(registry, f"{name}_seconds", text, buckets, labels)


def _histogram(
    registry: CollectorRegistry,
    name: str,
    text: str,
    buckets: tuple[float, ...],
    labels: tuple[str, ...] = (),
) -> Histogram:
    return Histogram(f"rudolph_{name}", text, labels, registry=registry, buckets=buckets)


def _counter(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    return Counter(f"rudolph_{name}_total", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(f"rudolph_{name}", text, labels, registry=registry)


class _Scrape(Collector):
    """Several collectors as one."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._collectors = tuple(collectors)

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            yield from collector.collect()


def render(collectors: Iterable[Collector], accept: str) -> tuple[bytes, str]:
    """Return the exposition and its media type: OpenMetrics with exemplars if `accept` names it."""
    encode, media_type = choose_encoder(accept)
    return encode(_Scrape(collectors)), media_type


def exposition(registry: CollectorRegistry) -> bytes:
    """Return the registry in the Prometheus text format."""
    return generate_latest(registry)


def merge_expositions(expositions: Mapping[str, bytes]) -> Iterable[Metric]:
    """Merge the metrics of workers: one family for each name, every sample with the label `worker`.

    A text that does not parse is left out, so that a broken worker does not hide the others.
    """
    merged: dict[str, Metric] = {}
    for worker, text in sorted(expositions.items()):
        for family in _parsed(text):
            if family.name.endswith("_created"):
                continue
            target = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                target.samples.append(sample._replace(labels={**sample.labels, "worker": worker}))
    return merged.values()


def top_tenants(jobs: Mapping[str, int]) -> Mapping[str, int]:
    """Return the tenants with the most jobs, and the sum of all others as `other`."""
    counts = Counts(jobs)
    top = dict(counts.most_common(MAX_TENANTS))
    rest = counts.total() - sum(top.values())
    return {**top, OTHER: top.get(OTHER, 0) + rest} if rest else top


def _parsed(text: bytes) -> list[Metric]:
    try:
        return list(text_string_to_metric_families(text.decode("utf-8")))
    except ValueError:
        return []
