"""The worker process from its first line to its exit code: settings, model, queue, signals.

The only place of a worker that reads the environment. What goes wrong before the first job is one clear line
and the exit code MISCONFIGURED, so that a supervisor does not try for ever.
"""

import os
import signal
import socket
import sys
import uuid
from pathlib import Path
from types import FrameType

import torch
from pydantic import ValidationError

from jobs.announcements import ModelInfo
from jobs.consumer import JobConsumer
from jobs.errors import QueueError
from jobs.job import Task
from model.checkpoint import CheckpointError, load_rudolph
from model.rudolph import Rudolph
from telemetry.logging import configure_logging, get_logger
from telemetry.tracing import open_tracer
from workers import exit_codes
from workers.engine.settings import EngineSettings
from workers.options import WorkerOptions
from workers.parent import leave_with_parent
from workers.session import Session
from workers.settings import WorkerSettings
from workers.status_server import StatusServer
from workers.threads import threads_per_worker
from workers.worker import Worker

logger = get_logger("workers.process")

SLOTS = {"cuda": 256, "cpu": 16}
"""Sequences held at a time by device type, where RUDOLPH_SLOTS does not say; fewer where memory is short."""
PARENT_GRACE_S = 15.0
"""For leaving after the drain, before the process ends itself when its supervisor is gone."""
WATCHDOG_S = {"cuda": 60.0, "cpu": 300.0}
"""Limit of one engine step by device type: a CPU scores a large chunk in tens of seconds."""


def main() -> int:
    """Run one worker until it is told to stop; returns the process's exit code."""
    try:
        settings = WorkerSettings()
    except ValidationError as error:
        sys.stderr.write(f"wrong setting: {error}\n")
        return exit_codes.MISCONFIGURED
    configure_logging(json=settings.log_format == "json", level=settings.log_level)
    if settings.model is None or settings.redis_url is None:
        logger.error("setting_missing", message="RUDOLPH_MODEL and RUDOLPH_REDIS_URL must be set")
        return exit_codes.MISCONFIGURED
    if settings.supervised:
        leave_with_parent(settings.drain_s + PARENT_GRACE_S)
    torch.set_num_threads(settings.cpu_threads or threads_per_worker(1))
    try:
        device = choose_device(settings.device)
        rudolph = load_rudolph(settings.model, preset=settings.preset, device=device, dtype=settings.dtype)
    except (CheckpointError, OSError, RuntimeError, ValueError) as error:
        # RuntimeError covers CUDA out of memory: the next try would find the same device.
        logger.error("model_not_loaded", model=str(settings.model), message=str(error))
        return exit_codes.MISCONFIGURED
    return _work(settings, rudolph)


def model_info(rudolph: Rudolph, folder: Path | None = None) -> ModelInfo:
    """What the worker announces of its model; `folder` is where it was loaded from, for its age."""
    config = rudolph.config
    tasks = tuple(task for task in Task if task is not Task.ANSWER or task.value in rudolph.tasks)
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
        device=rudolph.device.type,
        dtype=str(rudolph.dtype).removeprefix("torch."),
        created_s=max((file.stat().st_mtime for file in _files_in(folder)), default=0.0),
    )


def _files_in(folder: Path | None) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder else []


def memory_by_kind(device: torch.device) -> dict[str, int]:
    """Bytes of the device's memory: allocated and reserved by this process, and in total; zero on a CPU."""
    if device.type != "cuda":
        return {"allocated": 0, "reserved": 0, "total": 0}
    return {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "total": torch.cuda.get_device_properties(device).total_memory,
    }


def _work(settings: WorkerSettings, rudolph: Rudolph) -> int:
    assert settings.redis_url is not None
    worker_id = settings.worker_id or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    engine = EngineSettings(
        num_slots=settings.slots or SLOTS[rudolph.device.type], int8_weights=settings.int8_weights
    )
    try:
        consumer = JobConsumer(
            settings.redis_url, queue=settings.queue_name, worker_id=worker_id, lease_s=settings.lease_s
        )
    except (QueueError, ValueError) as error:
        logger.error("redis_url_refused", message=str(error))
        return exit_codes.MISCONFIGURED
    session = Session(rudolph, engine)
    model = model_info(rudolph, settings.model)
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
            watchdog_s=settings.watchdog_s or WATCHDOG_S[rudolph.device.type],
        ),
        memory=lambda: memory_by_kind(rudolph.device),
        tracer=tracer,
    )
    _drain_on_signals(worker)
    try:
        return _run(worker, settings.worker_metrics_port)
    finally:
        tracer.close()


def _run(worker: Worker, status_port: int | None) -> int:
    if status_port is None:
        return worker.run()
    try:
        status = StatusServer(status_port, exposition=worker.exposition, problem=worker.problem)
    except OSError as error:
        logger.error("port_not_free", port=status_port, message=str(error))
        return exit_codes.MISCONFIGURED
    status.start()
    try:
        return worker.run()
    finally:
        status.close()


def choose_device(name: str) -> torch.device:
    """`auto`: the first CUDA device if there is one, else the CPU. RuntimeError: there is no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(f"device {name} was asked for, but torch {torch.__version__} sees no CUDA device")
    return torch.device(name)


def _drain_on_signals(worker: Worker) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        worker.drain()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
