"""Jobs by id: submit, read, follow, cancel. A job of another tenant is reported as not found."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticKnownError
from starlette.responses import Response

from app.auth import principal_of
from app.bodies import check_body, read_body
from app.errors import invalid, json_response
from app.field_errors import FieldNames
from app.fields import Schema
from app.follow import stream_job
from app.headers import last_event_id
from app.openapi import (
    ACCEPTED,
    BODY_ERRORS,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    READING_ERRORS,
    body_operation,
    errors,
    event_stream,
    ref,
    response,
)
from app.own_jobs import own_job
from app.replies import JobReply, job_reply
from app.services import services_of
from app.sse import END_OF_STREAM, NATIVE_DATA, EventStream
from app.submission import accepted, open_submission
from app.tasks import TASKS
from app.tasks.base import TaskInput
from jobs.contract.requests import Task
from jobs.contract.status import JobStatus

_NAMES = FieldNames(prefix="input")
_EVENTS = event_stream(*NATIVE_DATA, *(route.reply for route in TASKS.values()))
_TASK_NAMES = [str(task) for task in TASKS]


def _one_schema_by_task(schema: dict[str, Any]) -> None:
    """The schema of `input` depends on `task`."""
    schema["oneOf"] = [
        {"properties": {"task": {"const": str(task)}, "input": ref(route.body)}}
        for task, route in TASKS.items()
    ]


def _as_task(value: Any) -> Task:
    if value not in _TASK_NAMES:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, _TASK_NAMES))})
    return Task(value)


class JobBody(Schema):
    """Submit any task as a job, and read its result later."""

    model_config = ConfigDict(json_schema_extra=_one_schema_by_task)

    task: Annotated[
        Task, BeforeValidator(_as_task), WithJsonSchema({"type": "string", "enum": _TASK_NAMES})
    ] = Field(description="The task. The loaded checkpoint can do those that /v1/models lists.")
    input: dict[str, Any] = Field(description="The body of the task's own route.")
    priority: int = Field(0, ge=-10, le=10, description="−10–10; lower runs earlier.")
    deadline_s: float | None = Field(
        None, ge=1, le=86_400, description="Seconds after which the job expires, time in the queue included."
    )


OwnJob = Annotated[JobStatus, Depends(own_job)]
_SUBMIT = body_operation(
    JobBody, {"task": "text2image", "input": {"prompt": "сова на зелёном фоне"}, "priority": 0}
)
_NOTHING_MORE = response(description="Last-Event-ID is that of the last event.")
_JOB_ERRORS = errors(*READING_ERRORS, 404, 422)


def jobs_router() -> APIRouter:
    router = APIRouter(tags=["jobs"], prefix="/v1/jobs")
    router.add_api_route(
        "",
        submit_job,
        methods=["POST"],
        status_code=202,
        summary="Queue a task",
        response_model=JobReply,
        response_description="Queued.",
        responses={202: ACCEPTED} | errors(*BODY_ERRORS),
        openapi_extra={**_SUBMIT, "parameters": [IDEMPOTENCY_KEY]},
    )
    for handler, method, summary in (
        (get_job, "GET", "Read a job's state and result"),
        (cancel_job, "DELETE", "Cancel a job"),
    ):
        router.add_api_route(
            "/{id}",
            handler,
            methods=[method],
            summary=summary,
            response_model=JobReply,
            response_description="The job.",
            responses={200: response()} | _JOB_ERRORS,
        )
    router.add_api_route(
        "/{id}/events",
        follow_job,
        methods=["GET"],
        summary="Follow a job as server-sent events",
        status_code=200,
        response_class=EventStream,
        response_description="The events.",
        responses={200: response(content=_EVENTS), 204: _NOTHING_MORE} | _JOB_ERRORS,
        openapi_extra={"parameters": [LAST_EVENT_ID]},
    )
    return router


async def submit_job(request: Request) -> Response:
    """Accept any task and return 202 with the job's URL at once."""
    services = services_of(request)
    submission = await open_submission(request, synchronous=False, names=_NAMES)
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, JobBody, None)
        route = TASKS[body.task]
        route.require(submission.model)
        item = TaskInput(route, check_body(route.body, body.input, names=_NAMES))
        if item.streams:
            message = "A queued job does not stream its reply; follow /v1/jobs/{id}/events instead."
            raise invalid(message, param="input.stream", code="invalid_stream")
        submission = replace(submission, priority=body.priority, deadline_s=body.deadline_s)
        submitted = await submission.submit(item)
    return await accepted(request, submitted)


async def get_job(request: Request, status: OwnJob) -> Response:
    if not status.state.is_terminal:
        return json_response(job_reply(status, None))
    # Both from one script: after a failover the job may be running again.
    return json_response(job_reply(*await services_of(request).client.report(status.id)))


async def cancel_job(request: Request, status: OwnJob) -> Response:
    """Cancel a job. One that has ended does not change; a running one leaves its batch at the next step."""
    client = services_of(request).client
    await client.cancel(status.id)
    return json_response(job_reply(await client.status(status.id), None))


async def follow_job(request: Request, status: OwnJob) -> Response:
    after = last_event_id(request)
    if after is not None and after.endswith(END_OF_STREAM):
        # The client has seen the end; 204 makes an EventSource stop.
        return Response(status_code=204)
    return stream_job(services_of(request), principal_of(request).tenant, status.id, after)
