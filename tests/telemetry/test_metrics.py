from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from telemetry.metrics import ApiMetrics, QueueGauges, WorkerMetrics, exposition


def worker_text(rows: float) -> bytes:
    metrics = WorkerMetrics(CollectorRegistry())
    metrics.batch_rows.observe(rows)
    metrics.jobs_total.labels("text2image", "succeeded").inc()
    metrics.step_seconds.labels("decode").observe(0.004)
    metrics.kv_slots_total.set(8)
    metrics.model_info.labels("350M", "abc", "1", "cpu", "float32").set(1)
    return exposition(metrics.registry)


def scrape(
    expositions: dict[str, bytes], **values: int
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    counts = {"waiting": 0, "running": 0, "dead": 0, "workers_live": len(expositions)} | values
    registry.register(QueueGauges(**counts, expositions=expositions))
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


def test_gpu_memory_is_absent_without_a_gpu() -> None:
    assert b"rudolph_gpu_memory_bytes{" not in worker_text(1)
