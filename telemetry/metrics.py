"""Every Prometheus family of the project, declared once. Base units: seconds and bytes.

Knows names, labels and buckets, and how the exposition of several workers becomes one. Does not know when
anything is counted. A process exports only what it knows itself: the API its requests and what the queue says
at the moment of the scrape, a worker what its engine does. A worker's text travels in its heartbeat, so its
series vanish with it.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

REQUEST_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)
STEP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5)
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512)


class ApiMetrics:
    """What one API process counts itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests_total = Counter(
            "rudolph_requests_total", "HTTP requests answered.", ("route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "rudolph_request_seconds",
            "From the first byte of a request to the last of its reply.",
            ("route",),
            registry=registry,
            buckets=REQUEST_BUCKETS_S,
        )


class WorkerMetrics:
    """What one worker process counts itself; rendered with `exposition` into its heartbeat."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.queue_seconds = _seconds(registry, "queue", "From acceptance of a job to the claim that ran it.")
        self.compute_seconds = _seconds(registry, "compute", "From claim to result.", ("task",))
        self.time_to_first_partial_seconds = _seconds(
            registry,
            "time_to_first_partial",
            "From acceptance of a job to its first partial picture or text.",
        )
        self.step_seconds = _seconds(
            registry, "step", "One call of the model, by phase.", ("phase",), STEP_BUCKETS_S
        )
        self.batch_rows = Histogram(
            "rudolph_batch_rows", "Sequences in a decode step.", registry=registry, buckets=ROW_BUCKETS
        )
        self.jobs_total = _counter(registry, "jobs", "Jobs finished.", ("task", "outcome"))
        self.images_total = _counter(registry, "images", "Pictures drawn.")
        self.tokens_total = _counter(registry, "tokens", "Tokens generated, image codes included.")
        self.lease_lost_total = _counter(registry, "lease_lost", "Jobs taken away while they ran.")
        self.kv_slots_used = _gauge(registry, "kv_slots_used", "Sequences that hold a cache slot.")
        self.kv_slots_total = _gauge(registry, "kv_slots_total", "Cache slots.")
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


def _seconds(
    registry: CollectorRegistry,
    name: str,
    text: str,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = REQUEST_BUCKETS_S,
) -> Histogram:
    return Histogram(f"rudolph_{name}_seconds", text, labels, registry=registry, buckets=buckets)


def _counter(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    return Counter(f"rudolph_{name}_total", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(f"rudolph_{name}", text, labels, registry=registry)


class QueueGauges:
    """A collector of one scrape: the queue as it is now, and the last word of every live worker."""

    def __init__(
        self, *, waiting: int, running: int, dead: int, workers_live: int, expositions: Mapping[str, bytes]
    ) -> None:
        self._values = (
            ("rudolph_jobs_waiting", "Jobs accepted and not yet claimed.", waiting),
            ("rudolph_jobs_running", "Jobs that a worker holds.", running),
            ("rudolph_dead_letters", "Jobs given up after crashing their worker.", dead),
            ("rudolph_workers_live", "Workers whose heartbeat is fresh.", workers_live),
        )
        self._expositions = expositions

    def collect(self) -> Iterator[Metric]:
        for name, text, value in self._values:
            yield GaugeMetricFamily(name, text, value)
        yield from merge_expositions(self._expositions)


def exposition(registry: CollectorRegistry) -> bytes:
    """The registry in the Prometheus text format."""
    return generate_latest(registry)


def merge_expositions(expositions: Mapping[str, bytes]) -> Iterable[Metric]:
    """One family a name out of many workers' texts, every sample labelled `worker=<id>`.

    A text that does not parse is left out: one broken worker must not take the scrape of the others away.
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


def _parsed(text: bytes) -> list[Metric]:
    try:
        return list(text_string_to_metric_families(text.decode("utf-8")))
    except ValueError:
        return []
