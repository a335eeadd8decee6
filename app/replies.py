"""The reply of /v1/jobs: a job with its state and, once there is one, its result."""

from typing import Annotated, Literal

from msgspec import structs
from pydantic import Field, SerializeAsAny, WithJsonSchema

from app.errors import ErrorBody, from_failure
from app.reply_fields import Created
from app.tasks import TASKS
from app.tasks.base import Reply, TaskReply, durations_ms
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure, Outcome, Result
from jobs.contract.status import JobStatus

_REPLIES = dict.fromkeys(route.reply.__name__ for route in TASKS.values())
_AnyReply = Annotated[
    SerializeAsAny[TaskReply],
    WithJsonSchema({"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in _REPLIES]}),
]


StateName = Annotated[
    Literal["queued", "running", "succeeded", "failed", "cancelled", "expired", "dead"],
    Field(
        description="`dead`: the job crashed its worker twice while it ran alone. The last five are final."
    ),
]


class ProgressReply(Reply):
    """What is done of a running job."""

    phase: str = Field(description="What the worker does: drawing, writing or scoring.")
    done: int = Field(
        description="Units of the phase that are done: rows of cells of all images, finished texts, or "
        "scored sequences."
    )
    total: int = Field(description="Number of units of the phase.")


class JobTimingsReply(Reply):
    """Milliseconds; null until the event has happened."""

    queue_ms: float | None = Field(description="From acceptance until a worker started.")
    compute_ms: float | None = Field(description="From there until the end.")
    total_ms: float | None = Field(description="Both together.")


class JobReply(Reply):
    id: str = Field(description="The id of the job, for /v1/jobs/{id}.")
    task: str = Field(description="The task, such as text2image.")
    state: StateName
    created: Created
    attempt: int = Field(description="How often a worker has started it.")
    priority: int = Field(description="−10–10; lower runs earlier.")
    position: int | None = Field(description="Number of jobs ahead of it; null unless it is queued.")
    progress: ProgressReply | None = Field(description="What is done of it; null unless it runs.")
    cancel_requested: bool = Field(description="True from a request to cancel it until it ends.")
    model: str | None = Field(description="Name and revision of the checkpoint that ran it; null before.")
    timings: JobTimingsReply = Field(description="How long it waited and ran.")
    error: ErrorBody | None = Field(description="Why it did not succeed, else null.")
    result: _AnyReply | None = Field(
        description="The reply of the task's own route; null until it has succeeded."
    )


def job_reply(status: JobStatus, outcome: Outcome | None) -> JobReply:
    failure = outcome if isinstance(outcome, JobFailure) else status.failure
    result = None if outcome is None or isinstance(outcome, JobFailure) else task_reply(status, outcome)
    fields = structs.asdict(status) | {
        "created": int(status.timings.created_s),
        "progress": status.progress if status.state is JobState.RUNNING else None,
        "timings": durations_ms(status.timings),
        "error": from_failure(failure).reply().error if failure else None,
        "result": result,
    }
    return JobReply.model_validate(fields)


def task_reply(status: JobStatus, result: Result, *, seed: int | None = None) -> TaskReply:
    """Return the reply of the job's task route. `seed` is None where the request's seed is unknown."""
    fields = structs.asdict(result) | {
        "id": status.id,
        "model": status.model,
        "created": int(status.timings.created_s),
        "timings": {name: value or 0.0 for name, value in durations_ms(status.timings).items()},
        "seed": seed,
    }
    return TASKS[status.task].reply.model_validate(fields)
