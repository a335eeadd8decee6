"""A worker in a thread of the test's process, and jobs for it."""

import asyncio
import threading
import uuid

from jobs.client.client import JobClient
from jobs.contract.job import Job, JobState
from jobs.contract.requests import Sampling, Task, Text2ImageRequest
from jobs.contract.results import ImagesResult
from jobs.worker.consumer import JobConsumer
from model.rudolph import Rudolph
from telemetry.tracing import Tracer
from workers.engine.settings import EngineSettings
from workers.options import WorkerOptions
from workers.process import model_info
from workers.session import Session
from workers.step_metrics import new_metrics
from workers.worker import Worker

NUM_SLOTS = 4
WAIT_S = 60.0


class RunningWorker:
    """A worker in a thread of the test's process."""

    def __init__(
        self,
        rudolph: Rudolph,
        url: str,
        queue: str,
        session: Session | None = None,
        tracer: Tracer | None = None,
        **options: float,
    ) -> None:
        self.session = session or Session(rudolph, EngineSettings(num_slots=NUM_SLOTS))
        self.id = f"worker-{uuid.uuid4().hex[:8]}"
        model = model_info(rudolph)
        metrics = new_metrics(model, num_slots=self.session.num_slots, memory=self.session.memory)
        self.worker = Worker(
            self.session,
            JobConsumer(url, queue=queue, worker_id=self.id, retry_for_s=1.0, observe=metrics.redis_calls),
            worker_id=self.id,
            model=model,
            options=WorkerOptions(**{"renew_every_s": 0.3, "watchdog_s": 60.0, **options}),
            metrics=metrics,
            tracer=tracer,
        )
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.worker.run()

    def drain(self) -> int | None:
        self.worker.drain()
        return self.join()

    def join(self) -> int | None:
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self.code


def drawing(seed: int = 1, *, candidates: int = 1, prompt: str = "красный круг") -> Job:
    """One picture; hundreds of candidates make it a long job."""
    request = Text2ImageRequest(
        prompt=prompt,
        seed=seed,
        candidates=candidates,
        sampling=Sampling(temperature=1.0, top_k=0, top_p=1.0),
        return_codes=True,
    )
    return Job(
        f"job_{uuid.uuid4().hex}", Task.TEXT2IMAGE, request, synchronous=False, num_sequences=candidates
    )


def codes(outcome: object) -> list[tuple[int, ...] | None]:
    assert isinstance(outcome, ImagesResult), outcome
    return [image.codes for image in outcome.images]


async def until_state(client: JobClient, job_id: str, state: JobState) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await client.status(job_id)).state is not state:
            await asyncio.sleep(0.02)
