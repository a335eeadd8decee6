"""From a job's hash in Redis to what callers see of it."""

from typing import Any

from jobs import codec
from jobs.errors import CodecError
from jobs.events import Progress
from jobs.job import JobState, Task
from jobs.replies import DeadLetter
from jobs.results import JobFailure
from jobs.status import JobStatus, Timings


def status_of(job_id: str, record: list[Any]) -> JobStatus:
    """`record` is the reply of status.lua: jobs ahead or empty, then fields and values."""
    rank, flat = record
    fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    state = JobState(fields["state"].decode())
    return JobStatus(
        id=job_id,
        task=Task(fields["task"].decode()),
        state=state,
        tenant=fields["tenant"].decode(),
        attempt=int(fields["attempt"]),
        timings=Timings(
            created_s=float(fields["created"]),
            started_s=_seconds(fields.get("started")),
            finished_s=_seconds(fields.get("finished")),
        ),
        priority=int(fields["priority"]),
        position=int(rank) if rank else None,
        progress=_progress(fields.get("progress")),
        failure=_failure(state, fields),
        worker=_text(fields.get("worker")),
        model=_text(fields.get("model")) or _text(fields.get("revision")),
        cancel_requested=bool(fields.get("cancel")),
    )


def failure_of(status: JobStatus) -> JobFailure:
    """Why a job that ended without a result did so."""
    return status.failure or JobFailure(status.state.value, f"the job is {status.state.value}")


def dead_letter_of(job_id: str, record: list[Any]) -> DeadLetter:
    status = status_of(job_id, record)
    failure = failure_of(status)
    return DeadLetter(
        id=job_id,
        tenant=status.tenant,
        task=status.task.value,
        reason=failure.code,
        message=failure.message,
        attempts=status.attempt,
        dead_since_s=status.timings.finished_s or 0.0,
    )


def _failure(state: JobState, fields: dict[str, bytes]) -> JobFailure | None:
    code = _text(fields.get("code"))
    if code is None or not state.is_terminal:
        return None
    return JobFailure(code, fields.get("message", b"").decode(errors="replace"))


def _progress(data: bytes | None) -> Progress | None:
    try:
        body = codec.decode_event_body(data) if data else None
    except CodecError:
        return None  # written by another release; it will be out of date in a moment anyway
    return body if isinstance(body, Progress) else None


def _seconds(data: bytes | None) -> float | None:
    return float(data) if data else None


def _text(data: bytes | None) -> str | None:
    return data.decode() if data else None
