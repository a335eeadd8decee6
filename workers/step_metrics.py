"""What a step of the engine adds to the worker's metrics."""

from telemetry.metrics import WorkerMetrics
from workers.engine.engine import StepStatistics


def observe_step(metrics: WorkerMetrics, statistics: StepStatistics) -> None:
    """A phase that did not take part in the step leaves no sample, so that quantiles speak of real calls."""
    for phase, seconds in statistics.seconds.items():
        if seconds > 0:
            metrics.step_seconds.labels(phase).observe(seconds)
    if rows := statistics.rows.get("decode", 0):
        metrics.batch_rows.observe(rows)
    metrics.images_total.inc(statistics.images)
    metrics.tokens_total.inc(statistics.tokens)
    metrics.kv_slots_used.set(statistics.slots_used)
    metrics.kv_slots_total.set(statistics.slots_total)
