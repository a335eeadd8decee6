"""A worker process for fault tests: the real consumer around a model that is a hash.

python -m tests.faults.worker_program '<WorkerPlan as JSON>'

It claims, renews, reaps and commits as a worker does. What it makes of a job follows from the job alone, so
that every re-run must give the same result. Prompts may ask for trouble: `poison` ends the process, `hang`
stops it in its first attempt.
"""

import hashlib
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import structs
from prometheus_client import CollectorRegistry

from jobs.contract.errors import QueueError
from jobs.contract.requests import Text2TextRequest
from jobs.contract.results import GeneratedText, TextsResult
from jobs.worker.consumer import JobConsumer
from jobs.worker.replies import ClaimedJob, CommitReply
from telemetry.metrics import WorkerMetrics, exposition
from telemetry.nvml import open_gpu
from tests.support.sample_jobs import make_worker


class WorkerPlan(msgspec.Struct, frozen=True):
    """How the process behaves."""

    url: str
    queue: str
    worker_id: str
    journal: str
    """File that gets a line for every commit: job id, attempt, answer."""
    lease_s: float = 1.0
    batch: int = 8
    """Jobs at a time. 0: it takes none, and reports that it drains."""
    steps: int = 10
    step_s: float = 0.02
    drain_s: float = 5.0
    watchdog_s: float = 1.0
    clock_offset_s: float = 0.0
    heeds_losses: bool = True
    """Give up jobs whose lease is gone; without it they are committed late, and the fence has to hold."""
    heartbeats: bool = False
    """Say what model it is, as an API needs it, with metrics."""
    hangs_always: float = 0.0
    """Not 0: `hang` stops every attempt."""
    gpu_reserved: float = 0.0
    """Share of its device's memory that the metrics report as reserved."""
    gpu: str = ""
    """UUID of a GPU whose state is in the metrics; empty for none."""


def answer(prompt: str, seed: int) -> str:
    """What the model makes of a request."""
    return hashlib.sha256(f"{prompt}\n{seed}".encode()).hexdigest()


@dataclass
class Running:
    claimed: ClaimedJob
    steps_left: int
    moved_at: float = field(default_factory=time.monotonic)


class Worker:
    def __init__(self, plan: WorkerPlan) -> None:
        self.plan = plan
        self.consumer = JobConsumer(
            plan.url, queue=plan.queue, worker_id=plan.worker_id, lease_s=plan.lease_s
        )
        self.running: dict[str, Running] = {}
        self.lock = threading.Lock()
        self.draining = threading.Event()
        self.journal = Path(plan.journal)
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.metrics.gpu_memory_bytes.labels("reserved").set(plan.gpu_reserved)
        self.metrics.gpu_memory_bytes.labels("total").set(1.0 if plan.gpu_reserved else 0.0)
        if plan.gpu:
            monitor = open_gpu(plan.gpu)
            assert monitor is not None
            self.metrics.registry.register(monitor)
            monitor.start()

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self.draining.set())
        threading.Thread(target=self._keep_leases, daemon=True).start()
        while not self.draining.is_set():
            self._claim()
            self._step()
        give_up_at = time.monotonic() + self.plan.drain_s
        while self.running and time.monotonic() < give_up_at:
            self._step()
        self._call(lambda: self.consumer.release(self._holds()))
        self.consumer.close()

    def _claim(self) -> None:
        room = self.plan.batch - len(self.running)
        is_solo = any(job.claimed.solo for job in self.running.values())
        if room <= 0 or is_solo:
            return
        claims = self._call(lambda: self.consumer.claim(room)) or []
        for claimed in claims:
            self.consumer_holds(claimed)
        if not self.running:
            self.consumer.wait_for_work(0.2)

    def consumer_holds(self, claimed: ClaimedJob) -> None:
        with self.lock:
            self.running[claimed.job.id] = Running(claimed, self.plan.steps)
        self.metrics.queue_seconds.observe(claimed.queued_s)

    def _step(self) -> None:
        time.sleep(self.plan.step_s)
        others_run = any(not job.claimed.solo for job in self.running.values())
        for job_id, job in list(self.running.items()):
            job.moved_at = time.monotonic()
            if job.claimed.solo and others_run:
                continue  # alone means alone
            self._misbehave(job.claimed)
            job.steps_left -= 1
            if job.steps_left <= 0:
                self._commit(job_id, job.claimed)

    def _misbehave(self, claimed: ClaimedJob) -> None:
        request = claimed.job.request
        assert isinstance(request, Text2TextRequest)
        if request.prompt.startswith("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        if request.prompt.startswith("hang") and (claimed.attempt == 1 or self.plan.hangs_always):
            time.sleep(3600)

    def _commit(self, job_id: str, claimed: ClaimedJob) -> None:
        request = claimed.job.request
        assert isinstance(request, Text2TextRequest)
        # The attempt makes the bytes of each run differ: a second commit could not pass for the first.
        text = GeneratedText(answer(request.prompt, request.seed), count=1, tokens=(claimed.attempt,))
        result = TextsResult((text,))
        reply = self._call(
            lambda: self.consumer.commit(
                job_id, claimed.attempt, result, compute_s=self.plan.step_s, model="hash"
            )
        )
        if reply is None:
            return  # the server is away: the next step tries again
        with self.lock:
            self.running.pop(job_id, None)
        with self.journal.open("a", encoding="ascii") as journal:
            journal.write(f"{job_id} {claimed.attempt} {CommitReply(reply).value}\n")

    def _keep_leases(self) -> None:
        tester = os.getppid()
        while True:
            time.sleep(self.plan.lease_s / 5)
            if os.getppid() != tester:
                os._exit(71)  # the test was killed; its workers must not go on without it
            if self.plan.heartbeats:
                described = make_worker(self.plan.worker_id, draining=self.plan.batch == 0)
                info = structs.replace(described, metrics=exposition(self.metrics.registry))
                self._call(lambda info=info: self.consumer.heartbeat(info))
            now = time.monotonic()
            with self.lock:
                stuck = [job for job in self.running.values() if now - job.moved_at > self.plan.watchdog_s]
            if stuck and not self.draining.is_set():
                os._exit(70)
            holds = self._holds()
            reply = self._call(lambda holds=holds: self.consumer.renew(holds))
            self.metrics.lease_lost_total.inc(len(reply.lost) if reply else 0)
            with self.lock:
                for job_id in (reply.lost | reply.cancelled) if reply and self.plan.heeds_losses else ():
                    if job_id in self.running and self.running[job_id].claimed.attempt == holds[job_id]:
                        del self.running[job_id]
            self._call(self.consumer.reap)

    def _holds(self) -> dict[str, int]:
        with self.lock:
            return {job_id: job.claimed.attempt for job_id, job in self.running.items()}

    def _call(self, call):  # type: ignore[no-untyped-def]
        try:
            return call()
        except QueueError:
            time.sleep(0.05)
            return None


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=WorkerPlan)
    if plan.clock_offset_s:
        true_time = time.time
        time.time = lambda: true_time() + plan.clock_offset_s
    Worker(plan).serve()


if __name__ == "__main__":
    main()
