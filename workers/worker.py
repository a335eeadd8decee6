"""The worker: claims jobs, steps the session that runs them, hands events and outcomes to the outbox.

Knows the order of things; the promises live in its parts: `Claimer` takes, `LeaseKeeper` keeps, `Outbox`
says, `Watchdog` gives up. The engine loop is the only thread that touches the session, and it never waits for
Redis.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from jobs.announcements import ModelInfo, WorkerInfo
from jobs.consumer import JobConsumer
from jobs.errors import QueueError
from jobs.events import PartialImage, PartialText
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics, exposition
from telemetry.tracing import Tracer
from workers import exit_codes
from workers.claimer import Claimer
from workers.heartbeat import TTL_S, Heartbeat
from workers.holds import Hold, Holds
from workers.lease_keeper import LeaseKeeper
from workers.options import WorkerOptions
from workers.outbox import Outbox
from workers.pulse import Pulse, Watchdog
from workers.session import Finished, Session, SessionEvent
from workers.step_metrics import observe_step

logger = get_logger("workers.worker")

IDLE_WAIT_S = 0.2
GONE_TTL_S = 0.01
FLUSH_S = 5.0
"""How long results in line may take to reach Redis when the process leaves."""


@dataclass
class _Running:
    hold: Hold
    accepted_s: float
    """Monotonic time at which the queue took the job, as far as this machine can tell."""
    has_shown: bool = False
    """A partial picture or text is out."""


class Worker:
    """One worker process around one session. `run` returns the exit code."""

    def __init__(
        self,
        session: Session,
        consumer: JobConsumer,
        *,
        worker_id: str,
        model: ModelInfo,
        options: WorkerOptions,
        memory: Callable[[], dict[str, int]],
        tracer: Tracer | None = None,
    ) -> None:
        """`memory` gives bytes of the CUDA device by kind (allocated, reserved, total)."""
        self._session = session
        self._consumer = consumer
        self._id = worker_id
        self._model = model
        self._options = options
        self._memory = memory
        self.metrics = WorkerMetrics(CollectorRegistry())
        labels = (model.name, model.revision, str(model.generation), model.device, model.dtype)
        self.metrics.model_info.labels(*labels).set(1)
        self.metrics.kv_slots_total.set(session.num_slots)
        self._holds = Holds()
        self._pulse = Pulse()
        self._wake = threading.Event()
        self._draining = threading.Event()
        self._running: dict[str, _Running] = {}
        """What the session works on; the engine loop's own."""
        self._solo: str | None = None
        self._keeper = LeaseKeeper(
            consumer,
            self._holds,
            self._pulse,
            self.metrics,
            every_s=options.renew_every_s,
            grace_s=options.emit_grace_s,
            watchdog_s=options.watchdog_s,
        )
        self._outbox = Outbox(
            consumer,
            self._holds,
            self.metrics,
            model=f"{model.name}@{model.revision}",
            may_emit=lambda: self._keeper.may_emit,
        )
        self._claimer = Claimer(consumer, self._holds, self.metrics, self._wake, tracer or Tracer())
        self._heartbeat = Heartbeat(consumer, self._describe)
        self._watchdog = Watchdog(self._pulse, limit_s=options.watchdog_s, on_hang=self._give_up)

    # ---- from other threads --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Claim nothing more, finish what runs for `drain_s`, give the rest back. Fit for signal handlers."""
        self._draining.set()
        self._wake.set()

    def exposition(self) -> bytes:
        """The worker's metrics now."""
        for kind, size in self._memory().items():
            self.metrics.gpu_memory_bytes.labels(kind).set(size)
        return exposition(self.metrics.registry)

    def problem(self) -> str | None:
        """What the health check should complain about."""
        if (stuck_s := self._pulse.stuck_for_s()) > self._options.watchdog_s:
            return f"a model step has taken {stuck_s:.0f} s"
        if self._heartbeat.silent_for_s > 3 * TTL_S:
            return f"Redis has not taken a heartbeat for {self._heartbeat.silent_for_s:.0f} s"
        return None

    # ---- the engine loop -----------------------------------------------------------------------------------

    def run(self) -> int:
        for thread in (self._heartbeat, self._keeper, self._outbox, self._claimer, self._watchdog):
            thread.start()
        logger.info("worker_started", worker=self._id, model=self._model.name, device=self._model.device)
        try:
            while not self._draining.is_set():
                self._turn()
            self._finish_what_runs()
        except Exception as error:
            logger.exception("engine_crashed", worker=self._id, jobs=len(self._holds.attempts()))
            self._report_crash(f"{type(error).__name__}: {error}")
            return exit_codes.CRASHED
        self._leave()
        return exit_codes.DRAINED

    def _turn(self) -> None:
        with self._pulse.turn():
            self._drop_revoked()
            self._admit()
            self._step()
        alone = self._solo is not None or self._claimer.first() is not None
        self._claimer.offer(0 if alone else self._session.free_rows)
        if not self._session.has_work and self._claimer.first() is None:
            self._wake.wait(IDLE_WAIT_S)
            self._wake.clear()

    def _admit(self) -> None:
        """Move jobs from the inbox into the session; one that must run alone waits for the rest."""
        if self._solo is not None:
            return
        while (claimed := self._claimer.first()) is not None:
            job = claimed.job
            if claimed.solo and self._session.job_ids:
                return
            self._claimer.take()
            if (hold := self._holds.find(job.id, claimed.attempt)) is None:
                continue
            # An older attempt of it, lost and come back to this very worker.
            self._session.cancel(job.id)
            self._session.submit(job)
            self._running[job.id] = _Running(hold, time.monotonic() - claimed.queued_s)
            fields = hold.span.log_fields
            logger.info("job_started", job=job.id, task=job.task.value, attempt=hold.attempt, **fields)
            if claimed.solo:
                self._solo = job.id
                return

    def _drop_revoked(self) -> None:
        for job_id, attempt in self._holds.take_revoked():
            running = self._running.get(job_id)
            if running is not None and running.hold.attempt == attempt:
                self._session.cancel(job_id)
                self._forget(job_id)

    def _step(self) -> None:
        if not self._session.has_work:
            self.metrics.kv_slots_used.set(0)
            return
        step = self._session.step()
        for event in step.events:
            self._emit(event)
        observe_step(self.metrics, step.statistics)

    def _emit(self, event: SessionEvent) -> None:
        running = self._running[event.job_id]
        if isinstance(event, Finished):
            self._outbox.commit(event.job_id, running.hold, event.outcome, event.compute_s)
            self._forget(event.job_id)
            return
        if isinstance(event.body, PartialImage | PartialText) and not running.has_shown:
            running.has_shown = True
            running.hold.span.first_partial()
            self.metrics.time_to_first_partial_seconds.observe(time.monotonic() - running.accepted_s)
        self._outbox.publish(event.job_id, running.hold.attempt, event.body)

    def _forget(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        if self._solo == job_id:
            self._solo = None

    # ---- leaving -------------------------------------------------------------------------------------------

    def _finish_what_runs(self) -> None:
        logger.info("draining", worker=self._id, jobs=len(self._holds.attempts()))
        self._heartbeat.beat_now()
        self._claimer.stop()
        deadline_s = time.monotonic() + self._options.drain_s
        while time.monotonic() < deadline_s:
            self._give_back_unstarted()
            with self._pulse.turn():
                self._drop_revoked()
                self._step()
            if not self._session.has_work:
                if not self._claimer.is_alive():
                    break
                time.sleep(0.01)
        self._claimer.join(2.0)
        self._give_back_unstarted()

    def _give_back_unstarted(self) -> None:
        while self._claimer.first() is not None:
            claimed = self._claimer.take()
            self._release({claimed.job.id: claimed.attempt})

    def _release(self, holds: dict[str, int]) -> None:
        for job_id, attempt in holds.items():
            self._holds.remove(job_id, attempt)
        try:
            self._consumer.release(holds)
        except QueueError as error:
            logger.warning("release_failed", jobs=len(holds), error=str(error))
        else:
            logger.info("jobs_given_back", jobs=list(holds))

    def _leave(self) -> None:
        running = self._session.job_ids
        for job_id in running:
            self._session.cancel(job_id)
        unfinished = {job: attempt for job, attempt in self._holds.attempts().items() if job in running}
        if unfinished:
            self._release(unfinished)
        if not self._outbox.close(FLUSH_S):
            logger.warning("results_unsent", jobs=list(self._holds.attempts()))
        self._stop_threads()
        self._session.close()
        logger.info("worker_stopped", worker=self._id)

    def _report_crash(self, reason: str) -> None:
        """Send what is done, then tell the queue that the batch crashed."""
        self._claimer.stop()
        self._claimer.join(2.0)
        # Jobs that never reached the engine have no part in it.
        self._give_back_unstarted()
        self._outbox.close(FLUSH_S)
        self._blame("worker_crashed", reason)
        self._stop_threads()

    def _give_up(self, stuck_s: float) -> None:
        """From the watchdog's thread: the engine loop will not return, so the process ends here."""
        logger.critical("step_hung", worker=self._id, stuck_s=round(stuck_s, 1))
        self._blame("step_hung", f"a model step took over {stuck_s:.0f} s")
        os._exit(exit_codes.HUNG)

    def _blame(self, code: str, message: str) -> None:
        """The jobs that are held took the worker down: they run again, alone."""
        try:
            self._consumer.report_crash(self._holds.attempts(), code=code, message=message)
        except QueueError as error:
            # Their leases run out; the queue then counts nothing against them.
            logger.warning("crash_not_reported", error=str(error))

    def _stop_threads(self) -> None:
        for thread in (self._watchdog, self._keeper, self._heartbeat):
            thread.stop()
        for thread in (self._keeper, self._heartbeat):
            thread.join(2.0)
        try:
            # Gone from the list of workers now, not when the last beat has faded.
            self._consumer.heartbeat(self._describe(), ttl_s=GONE_TTL_S)
        except QueueError as error:
            logger.debug("farewell_failed", error=str(error))
        self._consumer.close()

    def _describe(self) -> WorkerInfo:
        return WorkerInfo(
            id=self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            model=self._model,
            slots=self._session.num_slots,
            draining=self._draining.is_set(),
            metrics=self.exposition(),
        )
