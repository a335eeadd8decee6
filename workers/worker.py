"""The worker: Claimer claims jobs, LeaseKeeper renews leases, Outbox sends results, Watchdog ends a hang.

The engine loop here is the only thread that uses the session, and it never waits for Redis.
"""

import os
import socket
import threading
import time
from importlib.metadata import version

from jobs.contract.errors import QueueError
from jobs.contract.events import PartialImage, PartialText
from jobs.contract.worker_info import ModelInfo, WorkerInfo
from jobs.worker.consumer import JobConsumer
from telemetry.logging import get_logger
from telemetry.metrics import WorkerMetrics, exposition
from telemetry.tracing import Tracer
from workers import exit_codes
from workers.claimer import Claimer
from workers.heartbeat import Heartbeat
from workers.joining import join
from workers.lease_keeper import LeaseKeeper
from workers.leases import LeaseTable, RunningJob
from workers.options import WorkerOptions
from workers.outbox import Outbox
from workers.session import Finished, Session, SessionEvent
from workers.step_metrics import observe_step
from workers.watchdog import LoopTimer, Watchdog

logger = get_logger("workers.worker")

IDLE_WAIT_S = 0.2
FLUSH_S = 5.0
"""Time for queued results to reach Redis when the process ends."""


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
        metrics: WorkerMetrics,
        tracer: Tracer | None = None,
    ) -> None:
        self._session = session
        self._consumer = consumer
        self._id = worker_id
        self._model = model
        self._options = options
        self.metrics = metrics
        self._leases = LeaseTable()
        self._timer = LoopTimer()
        self._wake = threading.Event()
        self._joined = threading.Event()
        self._draining = threading.Event()
        self._running: dict[str, RunningJob] = {}
        """Jobs of the session. Only the engine loop uses it."""
        self._solo: str | None = None
        self._keeper = LeaseKeeper(
            consumer,
            self._leases,
            self._timer,
            self.metrics,
            every_s=options.renew_every_s,
            grace_s=options.emit_grace_s,
            watchdog_s=options.watchdog_s,
        )
        self._outbox = Outbox(
            consumer,
            self._leases,
            self.metrics,
            model=f"{model.name}@{model.revision}",
            may_emit=lambda: self._keeper.may_emit,
        )
        self._claimer = Claimer(consumer, self._leases, self.metrics, self._wake, tracer or Tracer())
        self._heartbeat = Heartbeat(consumer, self._describe, on_stop=self.drain)
        self._watchdog = Watchdog(self._timer, limit_s=options.watchdog_s, on_hang=self._exit_hung)

    # ---- from other threads --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Stop claiming, finish running jobs for `drain_s`, release the rest. Safe in signal handlers."""
        self._draining.set()
        self._wake.set()

    def exposition(self) -> bytes:
        """Return the worker's metrics in the Prometheus text format."""
        return exposition(self.metrics.registry)

    def problem(self) -> str | None:
        """Return why the process must be restarted, as a sentence; None if it is healthy."""
        if (running_s := self._timer.running_for_s()) > self._options.watchdog_s:
            return f"A model step has been running for {running_s:.0f} s."
        return None

    def unready(self) -> str | None:
        """Return why the worker cannot take jobs now, as a sentence; None if it can."""
        if self._draining.is_set():
            return "The worker is draining."
        if not self._joined.is_set():
            return "The worker has not joined its queue yet."
        return self._heartbeat.problem()

    # ---- the engine loop -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until `drain` or a crash. Returns the exit code."""
        if (refusal := join(self._consumer, self._describe, self._draining)) is not None:
            logger.error("worker_refused", worker=self._id, message=refusal)
            self._consumer.close()
            self._session.close()
            return exit_codes.MISCONFIGURED
        self._joined.set()
        for thread in (self._heartbeat, self._keeper, self._outbox, self._claimer, self._watchdog):
            thread.start()
        logger.info("worker_started", worker=self._id, model=self._model.name, device=self._model.device)
        try:
            while not self._draining.is_set():
                self._iterate()
            self._finish_what_runs()
        except Exception as error:
            logger.exception("engine_crashed", worker=self._id, jobs=len(self._leases.attempts()))
            self._report_crash(f"{type(error).__name__}: {error}")
            return exit_codes.CRASHED
        self._leave()
        if self._heartbeat.refusal is not None:
            return exit_codes.MISCONFIGURED
        return exit_codes.RETIRED if self._heartbeat.is_retired else exit_codes.DRAINED

    def _iterate(self) -> None:
        with self._timer.iteration():
            self._drop_revoked()
            self._admit()
            self._step()
        alone = self._solo is not None or self._claimer.first() is not None
        self._claimer.offer(0 if alone else self._session.free_slots)
        if not self._session.has_work and self._claimer.first() is None:
            self._wake.wait(IDLE_WAIT_S)
            self._wake.clear()

    def _admit(self) -> None:
        """Move jobs from the inbox into the session; one that must run alone waits for an empty session."""
        if self._solo is not None:
            return
        while (claimed := self._claimer.first()) is not None:
            job = claimed.job
            if claimed.solo and self._session.job_ids:
                return
            self._claimer.take()
            if (lease := self._leases.find(job.id, claimed.attempt)) is None:
                continue
            # An older attempt of the job may still run here, lost and claimed again by this worker.
            self._session.cancel(job.id)
            self._session.submit(job)
            self._running[job.id] = RunningJob(lease, time.monotonic() - claimed.queued_s)
            logger.info("job_started", job=job.id, task=job.task.value, **lease.log_fields)
            if claimed.solo:
                self._solo = job.id
                return

    def _drop_revoked(self) -> None:
        for job_id, attempt in self._leases.take_revoked():
            running = self._running.get(job_id)
            if running is not None and running.lease.attempt == attempt:
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
            self._outbox.commit(event.job_id, running.lease, event.outcome, event.compute_s)
            self._forget(event.job_id)
            return
        if isinstance(event.body, PartialImage | PartialText) and not running.has_shown:
            running.has_shown = True
            running.lease.span.first_partial()
            self.metrics.time_to_first_partial_seconds.observe(time.monotonic() - running.accepted_s)
        self._outbox.publish(event.job_id, running.lease.attempt, event.body)

    def _forget(self, job_id: str) -> None:
        self._running.pop(job_id, None)
        if self._solo == job_id:
            self._solo = None

    # ---- leaving -------------------------------------------------------------------------------------------

    def _finish_what_runs(self) -> None:
        logger.info("draining", worker=self._id, jobs=len(self._leases.attempts()))
        self._heartbeat.beat_now()
        self._claimer.stop()
        deadline_s = time.monotonic() + self._options.drain_s
        while time.monotonic() < deadline_s:
            self._release_unstarted()
            with self._timer.iteration():
                self._drop_revoked()
                self._step()
            if not self._session.has_work:
                if not self._claimer.is_alive():
                    break
                time.sleep(0.01)
        self._claimer.join(2.0)
        self._release_unstarted()

    def _release_unstarted(self) -> None:
        while self._claimer.first() is not None:
            claimed = self._claimer.take()
            self._release({claimed.job.id: claimed.attempt})

    def _release(self, held: dict[str, int]) -> None:
        for job_id, attempt in held.items():
            self._leases.remove(job_id, attempt)
        try:
            self._consumer.release(held)
        except QueueError as error:
            logger.warning("release_failed", jobs=len(held), error=str(error))
        else:
            logger.info("jobs_released", jobs=list(held))

    def _leave(self) -> None:
        running = self._session.job_ids
        for job_id in running:
            self._session.cancel(job_id)
        unfinished = {job: attempt for job, attempt in self._leases.attempts().items() if job in running}
        if unfinished:
            self._release(unfinished)
        if not self._outbox.close(FLUSH_S):
            logger.warning("results_unsent", jobs=list(self._leases.attempts()))
        self._stop_threads()
        self._session.close()
        logger.info("worker_stopped", worker=self._id)

    def _report_crash(self, reason: str) -> None:
        """Send finished results, then report the crash of the batch."""
        self._claimer.stop()
        self._claimer.join(2.0)
        # Jobs that never reached the engine are not suspects.
        self._release_unstarted()
        self._outbox.close(FLUSH_S)
        self._report_batch("worker_crashed", reason)
        self._stop_threads()

    def _exit_hung(self, running_s: float) -> None:
        """End the process from the watchdog's thread, because the engine loop does not return."""
        logger.critical("step_hung", worker=self._id, running_s=round(running_s, 1))
        self._report_batch("step_hung", f"A model step took over {running_s:.0f} s.")
        os._exit(exit_codes.HUNG)

    def _report_batch(self, code: str, message: str) -> None:
        """Report the held jobs as a crashed batch: they run again, each alone."""
        try:
            self._consumer.report_crash(self._leases.attempts(), code=code, message=message)
        except QueueError as error:
            # Their leases expire, which the queue does not count as a crash.
            logger.warning("crash_not_reported", error=str(error))

    def _stop_threads(self) -> None:
        for thread in (self._watchdog, self._keeper, self._heartbeat):
            thread.stop()
        for thread in (self._keeper, self._heartbeat):
            thread.join(2.0)
        try:
            # Leaves the list of workers now, not when the last heartbeat expires.
            self._consumer.leave(self._describe())
        except QueueError as error:
            logger.debug("last_heartbeat_failed", error=str(error))
        self._consumer.close()

    def _describe(self) -> WorkerInfo:
        return WorkerInfo(
            id=self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            model=self._model,
            slots=self._session.num_slots,
            draining=self._draining.is_set(),
            version=version("rudolph-server"),
            metrics=self.exposition(),
        )
