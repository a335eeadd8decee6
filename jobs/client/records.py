"""Turns a job's hash in Redis into the values that callers see."""

from typing import Any

from jobs.client.replies import DeadLetter
from jobs.contract import codec
from jobs.contract.errors import CodecError
from jobs.contract.events import Progress
from jobs.contract.job import JobState
from jobs.contract.requests import Task
from jobs.contract.results import JobFailure
from jobs.contract.status import JobStatus, Timings
from jobs.redis.scripts import Record


def status_of(job_id: str, record: Record) -> JobStatus:
    """Return the status of a job from the reply of the script `status`.

    Raises CodecError for a record that no release of this project has written.
    """
    try:
        return _status_of(job_id, record)
    except (KeyError, ValueError) as error:
        raise CodecError(
            f"The record of job {job_id} cannot be read ({type(error).__name__}: {error}). "
            "Submit the job again."
        ) from error


def _status_of(job_id: str, record: Record) -> JobStatus:
    rank: Any = record[0]
    flat: Any = record[1]
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
    """Return why a job ended without a result."""
    return status.failure or JobFailure(status.state.value, f"The job is {status.state.value}.")


def dead_letter_of(job_id: str, record: Record) -> DeadLetter:
    """Return the dead letter of a job in the state `dead`."""
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
        return None  # written by another release; the next event replaces it
    return body if isinstance(body, Progress) else None


def _seconds(data: bytes | None) -> float | None:
    return float(data) if data else None


def _text(data: bytes | None) -> str | None:
    return data.decode() if data else None
