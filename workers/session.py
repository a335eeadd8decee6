"""Runs many jobs on one engine. A fault in one job does not affect the others.

Knows plans and the engine; knows no Redis and no leases. The worker and the command line's local mode use it.
"""

import logging
from dataclasses import dataclass

import torch

from jobs.contract.events import EventBody
from jobs.contract.job import Job
from jobs.contract.results import JobFailure, Outcome
from model.rudolph import Rudolph
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.statistics import StepStatistics
from workers.engine.work import (
    DecodeImages,
    EncodeImages,
    EngineEvent,
    WorkDone,
    WorkFailed,
    WorkResult,
)
from workers.planner import Plan, Refused, plan, to_job_event

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """An event of a running job: progress, a partial image or text."""

    job_id: str
    body: EventBody


@dataclass(frozen=True)
class Finished:
    """The job's outcome, and its share of the engine's time."""

    job_id: str
    outcome: Outcome
    compute_s: float


SessionEvent = Notice | Finished


@dataclass(frozen=True)
class SessionStep:
    events: list[SessionEvent]
    statistics: StepStatistics


@dataclass
class _Running:
    job: Job
    plan: Plan
    has_asked: bool = False
    """False until the plan has submitted work; until then `job.num_sequences` is used."""


class Session:
    """Runs jobs on one engine. Not thread-safe."""

    def __init__(self, rudolph: Rudolph, settings: EngineSettings | None = None) -> None:
        self._rudolph = rudolph
        self._engine = Engine(rudolph, settings or EngineSettings())
        self._jobs: dict[str, _Running] = {}
        self._events: list[SessionEvent] = []

    @property
    def has_work(self) -> bool:
        """Whether `step` has work or events."""
        return bool(self._jobs) or bool(self._events)

    @property
    def job_ids(self) -> frozenset[str]:
        """Ids of the jobs that are not finished."""
        return frozenset(self._jobs)

    @property
    def free_slots(self) -> int:
        """Slots that no job of this session holds or will need."""
        asked = sum(
            self._engine.sequences_of(job_id) if running.has_asked else running.job.num_sequences
            for job_id, running in self._jobs.items()
        )
        return max(0, self._engine.num_slots - asked)

    @property
    def num_slots(self) -> int:
        """Sequences that run at a time; fewer than configured where the device's memory is too small."""
        return self._engine.num_slots

    def memory(self) -> dict[str, int]:
        """Return the bytes of the device's memory by kind, as `Backend.memory` does."""
        return self._engine.memory()

    @property
    def step_limit_s(self) -> float:
        """Seconds after which a step of this engine hangs."""
        return self._engine.traits.step_limit_s

    def submit(self, job: Job) -> None:
        """Start a job. A fault of the job becomes its outcome. Raises ValueError if the id runs already."""
        if job.id in self._jobs:
            raise ValueError(f"Job {job.id} runs already.")
        running = self._jobs[job.id] = _Running(job, plan(job, self._rudolph))
        self._advance(running, None)

    def cancel(self, job_id: str) -> bool:
        """Drop a job and its events. Returns False if it is not in this session."""
        running = self._jobs.pop(job_id, None)
        if running is None:
            return False
        self._engine.cancel(job_id)
        self._events = [event for event in self._events if event.job_id != job_id]
        running.plan.close()
        return True

    def step(self) -> SessionStep:
        """Run one step of the engine, and continue the plans whose work it finished."""
        output = self._engine.step()
        for event in output.events:
            self._take(event)
        events, self._events = self._events, []
        return SessionStep(events, output.statistics)

    def close(self) -> None:
        """Drop all jobs and stop the engine's threads."""
        for job_id in list(self._jobs):
            self.cancel(job_id)
        self._engine.close()

    def _take(self, event: EngineEvent) -> None:
        running = self._jobs.get(event.owner)
        if running is None:
            return
        if isinstance(event, WorkDone):
            self._advance(running, event.result)
        elif isinstance(event, WorkFailed):
            self._advance(running, event.error)
        else:
            self._events.append(Notice(event.owner, to_job_event(event, self._rudolph)))

    def _advance(self, running: _Running, answer: WorkResult | Exception | None) -> None:
        """Send the plan the result of its work; it returns more work, or the job is finished."""
        job = running.job
        try:
            if isinstance(answer, Exception):
                work = running.plan.throw(answer)
            elif answer is None:
                work = next(running.plan)
            else:
                work = running.plan.send(answer)
        except StopIteration as stop:
            self._finish(job.id, stop.value)
        except Refused as refused:
            self._finish(job.id, refused.failure)
        except Exception as error:  # a fault of one job must not end the others
            _log.exception("job %s failed", job.id)
            self._finish(job.id, _failure_of(error))
        else:
            running.has_asked = running.has_asked or not isinstance(work, EncodeImages | DecodeImages)
            self._engine.submit(job.id, work, job.priority)

    def _finish(self, job_id: str, outcome: Outcome) -> None:
        del self._jobs[job_id]
        self._events.append(Finished(job_id, outcome, self._engine.take_seconds(job_id)))


def _failure_of(error: Exception) -> JobFailure:
    if isinstance(error, torch.OutOfMemoryError):
        return JobFailure(
            "out_of_memory", "The memory of the device is too small for this job. Ask for fewer candidates."
        )
    return JobFailure("internal_error", "The worker failed at this job. Its log has the details.")
