"""Many jobs over one engine: plans are driven, events are collected, faults stay with their job.

Knows plans and the engine; knows no Redis, no leases and no clock of a queue. The worker loop and the command
line's local mode both stand on it.
"""

import logging
from dataclasses import dataclass

import torch

from jobs.events import EventBody
from jobs.job import Job
from jobs.results import JobFailure, Outcome
from model.rudolph import Rudolph
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.statistics import StepStatistics
from workers.engine.work import (
    DecodePictures,
    EncodePictures,
    EngineEvent,
    WorkDone,
    WorkFailed,
    WorkResult,
)
from workers.planner import Plan, Refused, narrate, plan

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """Something to tell a waiting client: progress, a partial picture or text."""

    job_id: str
    body: EventBody


@dataclass(frozen=True)
class Finished:
    """The job's outcome, and its share of the time that the engine spent."""

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
    """The engine knows its rows; before, the job's own word counts."""


class Session:
    """Drives jobs over one engine. Not thread-safe: one thread owns it."""

    def __init__(self, rudolph: Rudolph, settings: EngineSettings | None = None) -> None:
        self._rudolph = rudolph
        self._engine = Engine(rudolph, settings or EngineSettings())
        self._jobs: dict[str, _Running] = {}
        self._events: list[SessionEvent] = []

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do or to tell."""
        return bool(self._jobs) or bool(self._events)

    @property
    def job_ids(self) -> frozenset[str]:
        """Jobs that are not finished."""
        return frozenset(self._jobs)

    @property
    def free_rows(self) -> int:
        """Slots that no job here holds, waits for, or will ask for."""
        asked = sum(
            self._engine.rows_of(job_id) if running.has_asked else running.job.rows
            for job_id, running in self._jobs.items()
        )
        return max(0, self._engine.num_slots - asked)

    @property
    def num_slots(self) -> int:
        """Rows that run at once; fewer than asked for where the device's memory holds no more."""
        return self._engine.num_slots

    def submit(self, job: Job) -> None:
        """Take a job; what is wrong with it becomes its outcome. ValueError for an id that runs already."""
        if job.id in self._jobs:
            raise ValueError(f"job {job.id} runs already")
        running = self._jobs[job.id] = _Running(job, plan(job, self._rudolph))
        self._advance(running, None)

    def cancel(self, job_id: str) -> bool:
        """Forget a job; nothing more is told of it. False if it is not here (any more)."""
        running = self._jobs.pop(job_id, None)
        if running is None:
            return False
        self._engine.cancel(job_id)
        self._events = [event for event in self._events if event.job_id != job_id]
        running.plan.close()
        return True

    def step(self) -> SessionStep:
        """One step of the engine; what it brings moves the plans on."""
        output = self._engine.step()
        for event in output.events:
            self._take(event)
        events, self._events = self._events, []
        return SessionStep(events, output.statistics)

    def close(self) -> None:
        """Forget all jobs and stop the engine's threads."""
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
            self._events.append(Notice(event.owner, narrate(event, self._rudolph)))

    def _advance(self, running: _Running, answer: WorkResult | Exception | None) -> None:
        """Give the plan its answer; it asks for more, or the job is finished."""
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
            running.has_asked = running.has_asked or not isinstance(work, EncodePictures | DecodePictures)
            self._engine.submit(job.id, work, job.priority)

    def _finish(self, job_id: str, outcome: Outcome) -> None:
        del self._jobs[job_id]
        self._events.append(Finished(job_id, outcome, self._engine.take_seconds(job_id)))


def _failure_of(error: Exception) -> JobFailure:
    if isinstance(error, torch.OutOfMemoryError):
        return JobFailure("out_of_memory", "the device has too little memory for this job")
    return JobFailure("internal_error", "the worker could not do this job")
