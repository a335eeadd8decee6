"""A worker whose engine takes no time: real claims, leases, outbox and commits, and a fixed image.

Usage: `python -m bench.null_worker REDIS_URL`. SIGTERM drains it.
"""

import io
import signal
import sys
import uuid
from types import FrameType

import numpy as np
from PIL import Image

from jobs.contract.job import Job
from jobs.contract.requests import Task, Text2ImageRequest
from jobs.contract.results import GeneratedImage, ImagesResult, Usage
from jobs.contract.worker_info import ModelInfo
from jobs.worker.consumer import JobConsumer
from telemetry.logging import configure_logging
from workers.engine.statistics import StepStatistics
from workers.options import WorkerOptions
from workers.session import Finished, Session, SessionEvent, SessionStep
from workers.step_metrics import new_metrics
from workers.worker import Worker

SLOTS = 64
SIDE = 96
"""Noise of this size is a PNG file of 27 KB, as large as a drawn image of 128 × 128."""

MODEL = ModelInfo(
    name="null",
    revision="0",
    generation=2,
    image_width=16,
    input_pixels=128,
    output_pixels=128,
    left_text_length=64,
    right_text_length=64,
    image_codebook_size=8192,
    tasks=(Task.TEXT2IMAGE,),
    device="cpu",
    dtype="float32",
)


def noise_file() -> bytes:
    """Return the PNG file of every result."""
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


class NullSession(Session):
    """Finishes every job in the step after its submission."""

    def __init__(self) -> None:
        # The parent's __init__ would start an engine.
        self._waiting: dict[str, Job] = {}
        self._file = noise_file()

    @property
    def has_work(self) -> bool:
        return bool(self._waiting)

    @property
    def job_ids(self) -> frozenset[str]:
        return frozenset(self._waiting)

    @property
    def free_slots(self) -> int:
        return SLOTS - len(self._waiting)

    @property
    def num_slots(self) -> int:
        return SLOTS

    def submit(self, job: Job) -> None:
        self._waiting[job.id] = job

    def cancel(self, job_id: str) -> bool:
        return self._waiting.pop(job_id, None) is not None

    def step(self) -> SessionStep:
        done, self._waiting = self._waiting, {}
        events: list[SessionEvent] = [Finished(job.id, self._draw(job), 0.0) for job in done.values()]
        return SessionStep(events, StepStatistics({}, {}, 0, SLOTS, 0, len(events), 0))

    def close(self) -> None:
        self._waiting.clear()

    def _draw(self, job: Job) -> ImagesResult:
        assert isinstance(job.request, Text2ImageRequest)
        return ImagesResult((GeneratedImage(self._file, job.request.seed),), Usage(8, 256))


def main() -> None:
    url = sys.argv[1]
    configure_logging(json=True, level="WARNING")
    worker_id = f"null-{uuid.uuid4().hex[:8]}"
    metrics = new_metrics(MODEL, num_slots=SLOTS, memory=lambda: {"allocated": 0, "reserved": 0, "total": 0})
    worker = Worker(
        NullSession(),
        JobConsumer(url, worker_id=worker_id, observe=metrics.redis_calls),
        worker_id=worker_id,
        model=MODEL,
        options=WorkerOptions(drain_s=1),
        metrics=metrics,
    )

    def drain(_number: int, _frame: FrameType | None) -> None:
        worker.drain()

    signal.signal(signal.SIGTERM, drain)
    sys.exit(worker.run())


if __name__ == "__main__":
    main()
