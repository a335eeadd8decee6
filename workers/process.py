"""The worker process from its first line to its exit code: settings, model, queue, signals.

The only module of a worker that reads the environment. An error before the first job is one line in the log
and an exit code, which says whether the supervisor starts the process again.
"""

import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import torch
from msgspec import structs
from prometheus_client import disable_created_metrics

from jobs.contract.errors import QueueError
from jobs.contract.requests import Sampling, Task
from jobs.contract.worker_info import PUBLISHED_SAMPLING, ModelInfo
from jobs.worker.consumer import JobConsumer
from model.config import SamplingDefaults
from model.files.checkpoint import load_rudolph
from model.rudolph import Rudolph
from telemetry.logging import configure_logging, get_logger
from telemetry.misconfiguration import settings_fault
from telemetry.tracing import open_tracer
from workers import exit_codes
from workers.engine.settings import EngineSettings
from workers.gpu import monitor_gpu, use_device
from workers.metrics_server import MetricsServer
from workers.options import WorkerOptions
from workers.orphan_guard import exit_when_parent_dies
from workers.session import Session
from workers.settings import WorkerSettings
from workers.start_faults import classify
from workers.step_metrics import new_metrics
from workers.threads import threads_per_worker
from workers.worker import Worker

logger = get_logger("workers.process")

PARENT_GRACE_S = 15.0
"""Seconds after the drain before the process ends itself, if its supervisor has died."""


def main() -> int:
    """Run one worker until a signal. Returns the exit code."""
    try:
        settings = WorkerSettings()
    except ValueError as error:
        sys.stderr.write(f"error: {settings_fault(error)}\n")
        return exit_codes.MISCONFIGURED
    configure_logging(json=settings.log_format == "json", level=settings.log_level)
    disable_created_metrics()  # a series more for each counter, which no query needs
    if settings.model is None or settings.redis_url is None:
        logger.error("setting_missing", message="Set RUDOLPH_MODEL and RUDOLPH_REDIS_URL.")
        return exit_codes.MISCONFIGURED
    if settings.supervised:
        exit_when_parent_dies(settings.drain_s + PARENT_GRACE_S)
    torch.set_num_threads(settings.cpu_threads or threads_per_worker(1))
    device = None
    event = "model_not_loaded"
    started_s = time.monotonic()
    try:
        device = use_device(settings.device, share=settings.gpu_share)
        rudolph = load_rudolph(
            settings.model,
            preset=settings.preset,
            device=device,
            dtype=settings.dtype,
            generation_config=settings.generation_config,
            normalization=settings.normalize,
        )
        loaded_s = time.monotonic()
        event = "engine_not_built"
        session = Session(rudolph, _engine_settings(settings))
    except Exception as error:  # every fault of the start ends here, with its exit code
        fault = classify(error, device, share=settings.gpu_share)
        if not fault.is_known:
            logger.exception("start_failed")
        log = logger.warning if fault.exit_code == exit_codes.UNAVAILABLE else logger.error
        log(event, model=str(settings.model), message=fault.message)
        return fault.exit_code
    load_s = {"checkpoint": loaded_s - started_s, "engine": time.monotonic() - loaded_s}
    return _work(settings, rudolph, session, load_s)


def _engine_settings(settings: WorkerSettings) -> EngineSettings:
    return EngineSettings(
        num_slots=settings.slots,
        max_step_tokens=settings.step_tokens,
        weight_format=settings.weight_format,
    )


def model_info(rudolph: Rudolph, folder: Path | None = None) -> ModelInfo:
    """Describe the model for the heartbeat. `folder` is the checkpoint, for the time of its newest file."""
    config = rudolph.config
    tasks = tuple(task for task in Task if task is not Task.ANSWER or task.value in rudolph.tasks)
    defaults = rudolph.generation.sampling
    sampling = {
        str(task): _over(published, defaults.get(task, SamplingDefaults()))
        for task, published in PUBLISHED_SAMPLING.items()
    }
    return ModelInfo(
        name=rudolph.name,
        revision=rudolph.revision,
        generation=config.generation,
        image_width=config.image_width,
        input_pixels=rudolph.input_side,
        output_pixels=rudolph.output_side,
        left_text_length=config.left_text_length,
        right_text_length=config.right_text_length,
        image_codebook_size=config.image_codebook_size,
        tasks=tasks,
        device=rudolph.device.type,  # reported to clients; nothing depends on it
        dtype=str(rudolph.dtype).removeprefix("torch."),
        created_s=max((file.stat().st_mtime for file in _files_in(folder)), default=0.0),
        sampling=sampling,
        examples=dict(rudolph.generation.examples),
    )


def _over(published: Sampling, own: SamplingDefaults) -> Sampling:
    given = {name: value for name, value in asdict(own).items() if value is not None}
    return structs.replace(published, **given)


def _files_in(folder: Path | None) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder else []


def _work(settings: WorkerSettings, rudolph: Rudolph, session: Session, load_s: Mapping[str, float]) -> int:
    assert settings.redis_url is not None
    worker_id = settings.worker_id or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    model = model_info(rudolph, settings.model)
    metrics = new_metrics(model, num_slots=session.num_slots, memory=session.memory, load_s=load_s)
    monitor_gpu(metrics.registry, rudolph.device)
    try:
        consumer = JobConsumer(
            settings.redis_url,
            queue=settings.queue_name,
            worker_id=worker_id,
            lease_s=settings.lease_s,
            observe=metrics.redis_calls,
        )
    except (QueueError, ValueError) as error:
        logger.error("redis_url_refused", message=str(error))
        return exit_codes.MISCONFIGURED
    tracer = open_tracer(
        os.environ, "rudolph-worker", worker=worker_id, model=model.name, revision=model.revision
    )
    worker = Worker(
        session,
        consumer,
        worker_id=worker_id,
        model=model,
        options=WorkerOptions(
            renew_every_s=settings.renew_every_s,
            emit_grace_s=settings.emit_grace_s,
            drain_s=settings.drain_s,
            watchdog_s=settings.watchdog_s or session.step_limit_s,
        ),
        metrics=metrics,
        tracer=tracer,
    )
    _drain_on_signals(worker)
    try:
        return _run(worker, settings)
    finally:
        tracer.close()


def _run(worker: Worker, settings: WorkerSettings) -> int:
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    if port is None:
        return worker.run()
    try:
        server = MetricsServer(
            host, port, registry=worker.metrics.registry, problem=worker.problem, unready=worker.unready
        )
    except OSError as error:
        logger.error("metrics_port_not_free", host=host, port=port, message=str(error))
        return exit_codes.MISCONFIGURED
    server.start()
    try:
        return worker.run()
    finally:
        server.close()


def _drain_on_signals(worker: Worker) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        worker.drain()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
