from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from telemetry.metrics import MAX_TENANTS, ApiMetrics, WorkerMetrics, exposition, render, top_tenants
from telemetry.queue_metrics import QueueGauges


def worker_text(rows: float) -> bytes:
    metrics = WorkerMetrics(CollectorRegistry())
    metrics.batch_rows.observe(rows)
    metrics.jobs_total.labels("text2image", "succeeded").inc()
    metrics.step_seconds.labels("decode").observe(0.004)
    metrics.kv_slots.set(8)
    metrics.model_info.labels("350M", "abc", "1", "cpu", "float32").set(1)
    return exposition(metrics.registry)


def scrape(
    expositions: dict[str, bytes], **values: int
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    names = ("waiting", "parked", "running", "dead", "paused", "workers_draining", "start_in_s")
    counts = dict.fromkeys(names, 0) | {"workers_live": len(expositions)} | values
    registry.register(QueueGauges(**counts, unreadable={"event": 3}, expositions=expositions))
    text = exposition(registry).decode()
    assert text.count("# TYPE rudolph_batch_rows histogram") <= 1
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_each_workers_series_carry_its_own_label() -> None:
    samples = scrape({"a": worker_text(3), "b": worker_text(5)}, waiting=2)
    assert samples[("rudolph_batch_rows_sum", (("worker", "a"),))] == 3
    assert samples[("rudolph_batch_rows_sum", (("worker", "b"),))] == 5
    assert samples[("rudolph_jobs_waiting", ())] == 2
    assert samples[("rudolph_workers_live", ())] == 2
    labels = (("outcome", "succeeded"), ("task", "text2image"), ("worker", "a"))
    assert samples[("rudolph_jobs_total", labels)] == 1


def test_a_dead_workers_series_vanish() -> None:
    both = scrape({"a": worker_text(3), "b": worker_text(5)})
    one = scrape({"b": worker_text(5)})
    assert any(("worker", "a") in labels for _, labels in both)
    assert not any(("worker", "a") in labels for _, labels in one)


def test_a_broken_exposition_hides_no_other_worker() -> None:
    samples = scrape({"bad": b"rudolph_x{ 1 2 3 nonsense\n", "binary": b"\xff\xfe", "good": worker_text(2)})
    assert samples[("rudolph_batch_rows_sum", (("worker", "good"),))] == 2


def test_no_creation_times_are_exported_for_workers() -> None:
    assert not [name for name, _ in scrape({"a": worker_text(1)}) if name.endswith("_created")]


def test_api_and_worker_families_do_not_overlap() -> None:
    registry = CollectorRegistry()
    ApiMetrics(registry)
    WorkerMetrics(registry)
    names = {family.name for family in registry.collect()}
    assert {"rudolph_requests", "rudolph_request_seconds", "rudolph_queue_seconds"} <= names
    assert {"process_cpu_seconds", "rudolph_worker_process_cpu_seconds"} <= names


def test_gpu_memory_is_absent_without_a_gpu() -> None:
    assert b"rudolph_gpu_memory_bytes{" not in worker_text(1)


def test_tenants_are_bounded() -> None:
    metrics = ApiMetrics(CollectorRegistry())
    for number in range(MAX_TENANTS + 3):
        metrics.count_job("text2text", f"tenant-{number}")
    metrics.count_job("text2text", "tenant-1")
    text = exposition(metrics.registry).decode()
    assert text.count("rudolph_jobs_accepted_total{") == MAX_TENANTS + 1
    assert 'rudolph_jobs_accepted_total{task="text2text",tenant="other"} 3.0' in text
    assert 'rudolph_jobs_accepted_total{task="text2text",tenant="tenant-1"} 2.0' in text
    assert top_tenants({"a": 5, "b": 1}) == {"a": 5, "b": 1}
    many = {f"tenant-{number}": number + 1 for number in range(MAX_TENANTS + 2)}
    assert top_tenants(many)["other"] == 3
    assert sum(top_tenants(many).values()) == sum(many.values())


def test_only_counters_end_with_total() -> None:
    registry = CollectorRegistry()
    ApiMetrics(registry)
    WorkerMetrics(registry)
    assert not [family.name for family in registry.collect() if family.name.endswith("_total")]


def test_open_metrics_have_the_trace_of_a_request_as_exemplar() -> None:
    metrics = ApiMetrics(CollectorRegistry())
    metrics.count_request("/v1/text2text", 200, 0.02, "4bf92f3577b34da6a3ce929d0e0e4736")
    text, media_type = render([metrics.registry], "application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert b'# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.02' in text
    plain, media_type = render([metrics.registry], "")
    assert media_type.startswith("text/plain")
    assert b"trace_id" not in plain
