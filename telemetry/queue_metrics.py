"""Collectors of the queue, its health and its Redis server, each for one scrape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telemetry.metrics import merge_expositions, top_tenants


@dataclass(frozen=True, eq=False)
class QueueGauges(Collector):
    """The queue now, and the last metrics of every live worker."""

    waiting: int
    parked: int
    running: int
    dead: int
    paused: bool
    workers_live: int
    workers_draining: int
    start_in_s: float | None
    """None: it cannot be estimated."""
    unreadable: Mapping[str, int]
    """Entries that could not be read, by kind."""
    expositions: Mapping[str, bytes]
    """Metrics of each worker in the text format."""

    def collect(self) -> Iterator[Metric]:
        for name, text, value in (
            ("jobs_waiting", "Jobs accepted and not yet claimed, without parked ones.", self.waiting),
            ("jobs_parked", "Queued jobs of another model than the workers have.", self.parked),
            ("jobs_running", "Jobs that run on a worker.", self.running),
            ("dead_letters", "Jobs given up because they crashed their worker twice.", self.dead),
            ("queue_paused", "1 while an operator has paused the queue.", self.paused),
            ("workers_live", "Workers whose heartbeat has not expired.", self.workers_live),
            ("workers_draining", "Live workers that finish their jobs and end.", self.workers_draining),
        ):
            yield GaugeMetricFamily(f"rudolph_{name}", text, value)
        if self.start_in_s is not None:
            text = "Estimated time until a job that is submitted now starts; absent while it is unknown."
            yield GaugeMetricFamily("rudolph_estimated_start_seconds", text, self.start_in_s)
        text = "Entries of the queue that could not be read and were passed over."
        yield _counter(
            "unreadable_entries", text, ("kind",), {(kind,): n for kind, n in self.unreadable.items()}
        )
        yield from merge_expositions(self.expositions)


@dataclass(frozen=True, eq=False)
class ServerGauges(Collector):
    """The Redis server as an API process sees it. None: the server does not answer or may not be asked."""

    up: bool
    writable: bool
    replicas: int | None = None
    aof_ok: bool | None = None
    used_bytes: int | None = None
    max_bytes: int | None = None

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "rudolph_redis_up", "Whether Redis answers with the data of the queue.", self.up
        )
        yield GaugeMetricFamily("rudolph_redis_writable", "Whether Redis accepts writes.", self.writable)
        if self.replicas is not None:
            yield GaugeMetricFamily("rudolph_redis_replicas", "Connected replicas.", self.replicas)
        if self.aof_ok is not None:
            text = "Whether the last write of the append-only file succeeded."
            yield GaugeMetricFamily("rudolph_redis_aof_ok", text, self.aof_ok)
        if self.used_bytes is not None and self.max_bytes is not None:
            text = "Memory of Redis; max is 0 if it has no limit."
            memory = GaugeMetricFamily("rudolph_redis_memory_bytes", text, labels=("kind",))
            memory.add_metric(("used",), self.used_bytes)
            memory.add_metric(("max",), self.max_bytes)
            yield memory


@dataclass(frozen=True, eq=False)
class QueueSignals(Collector):
    """What shows whether the queue makes progress and has room."""

    oldest_waiting_s: float
    oldest_unfinished_s: float
    sequences_waiting: int
    num_bytes: int
    jobs_limit: int
    bytes_limit: int
    waiting_by_tenant: Mapping[str, int]
    ended: Mapping[str, int]
    """Jobs by terminal state since the queue was made."""
    requeued: Mapping[str, int]
    """Jobs that went back to the queue, by reason."""
    worker_starts: Mapping[str, int]
    """By slot: the host's name and the index of the worker on it."""
    worker_ends: Mapping[tuple[str, str], int]
    """Processes that ended unasked, by slot and reason."""
    stored_again: int

    def collect(self) -> Iterator[Metric]:
        for name, text, value in (
            (
                "oldest_waiting_seconds",
                "Age of the oldest waiting job; 0 if none waits.",
                self.oldest_waiting_s,
            ),
            (
                "oldest_unfinished_seconds",
                "Age of the oldest job that has not ended.",
                self.oldest_unfinished_s,
            ),
            ("sequences_waiting", "Sequences of the jobs that wait.", self.sequences_waiting),
            ("queue_bytes", "Input bytes of queued and running jobs.", self.num_bytes),
            ("queue_bytes_limit", "Limit of the input bytes.", self.bytes_limit),
            ("queue_jobs_limit", "Limit of the jobs that wait.", self.jobs_limit),
        ):
            yield GaugeMetricFamily(f"rudolph_{name}", text, value)
        text = "Jobs that wait, by tenant; the smaller tenants together are `other`."
        tenants = GaugeMetricFamily("rudolph_tenant_jobs_waiting", text, labels=("tenant",))
        for tenant, jobs in top_tenants(self.waiting_by_tenant).items():
            tenants.add_metric((tenant,), jobs)
        yield tenants
        text = "Jobs that ended, by state."
        yield _counter("jobs_ended", text, ("state",), {(state,): n for state, n in self.ended.items()})
        text = "Jobs that went back to the queue, by reason."
        yield _counter("jobs_requeued", text, ("reason",), {(name,): n for name, n in self.requeued.items()})
        text = "Worker processes that joined the queue, by host and index."
        yield _counter(
            "worker_starts", text, ("slot",), {(slot,): n for slot, n in self.worker_starts.items()}
        )
        text = "Worker processes that ended unasked and were started again, by host and index."
        yield _counter("worker_restarts", text, ("slot", "reason"), self.worker_ends)
        text = "Accepted jobs that this process stored again after a failover or restart of Redis."
        yield CounterMetricFamily("rudolph_jobs_stored_again", text, self.stored_again)


def _counter(
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"rudolph_{name}", text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
