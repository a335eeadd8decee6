"""The metrics of a worker: those of its model and device, and the statistics of each engine step."""

from collections.abc import Callable, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from jobs.contract.worker_info import ModelInfo
from telemetry.metrics import WorkerMetrics
from workers.engine.engine import StepStatistics


def new_metrics(
    model: ModelInfo,
    *,
    num_slots: int,
    memory: Callable[[], dict[str, int]],
    load_s: Mapping[str, float] | None = None,
) -> WorkerMetrics:
    """Return the metrics of one worker.

    `memory` returns bytes of the CUDA device by kind (allocated, reserved, total), at each scrape. `load_s`
    has the seconds of the start by stage (checkpoint, engine).
    """
    metrics = WorkerMetrics(CollectorRegistry(), version=version("rudolph-server"))
    for kind in memory():
        metrics.gpu_memory_bytes.labels(kind).set_function(lambda kind=kind: memory()[kind])
    labels = (model.name, model.revision, str(model.generation), model.device, model.dtype)
    metrics.model_info.labels(*labels).set(1)
    metrics.kv_slots.set(num_slots)
    for stage, seconds in (load_s or {}).items():
        metrics.model_load_seconds.labels(stage).set(seconds)
    return metrics


def observe_step(metrics: WorkerMetrics, statistics: StepStatistics) -> None:
    """Observe one step. A phase that did not run leaves no sample, so quantiles count real calls only."""
    for phase, seconds in statistics.seconds.items():
        if seconds > 0:
            metrics.step_seconds.labels(phase).observe(seconds)
    if rows := statistics.sequences.get("decode", 0):
        metrics.batch_rows.observe(rows)
    metrics.images_total.inc(statistics.images)
    metrics.tokens_total.inc(statistics.tokens)
    metrics.kv_slots_used.set(statistics.slots_used)
    metrics.kv_slots.set(statistics.slots_total)
