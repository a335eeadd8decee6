"""Jobs by name: submit now, ask later, listen, cancel. A job of another tenant does not exist here."""

import re
from contextlib import suppress
from typing import cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.bodies import check_body, read_body
from app.errors import ApiError, invalid, json_response
from app.openapi import job_operation, submit_operation
from app.replies import job_reply
from app.running import accepted, admit, submit
from app.schemas.requests import JobBody
from app.services import principal_of, services_of
from app.sse import EventStream, job_events, last_event_id
from app.tasks import route_of
from jobs.errors import JobNotFound
from jobs.job import Task
from jobs.status import JobStatus

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def jobs_router() -> APIRouter:
    router = APIRouter(tags=["jobs"])
    router.add_api_route(
        "/v1/jobs",
        submit_job,
        methods=["POST"],
        status_code=202,
        summary="Queue a task",
        response_model=None,
        openapi_extra=submit_operation(),
    )
    paths = (
        ("/v1/jobs/{id}", get_job, "GET", "How a job stands, with its result"),
        ("/v1/jobs/{id}", cancel_job, "DELETE", "Cancel a job"),
        ("/v1/jobs/{id}/events", follow_job, "GET", "Follow a job as server-sent events"),
    )
    for path, handler, method, summary in paths:
        router.add_api_route(
            path,
            handler,
            methods=[method],
            summary=summary,
            response_model=None,
            openapi_extra=job_operation(events=path.endswith("events")),
        )
    return router


async def submit_job(request: Request) -> Response:
    """Accept any task; answer 202 with the job's address at once."""
    services = services_of(request)
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, JobBody, None)
        route = route_of(Task(body.task))
        await admit(request, route)
        task_body = check_body(route.body, body.input, prefix="input")
        if getattr(task_body, "stream", False):
            message = "A queued job does not stream its answer; follow /v1/jobs/{id}/events instead."
            raise invalid(message, param="input.stream", code="invalid_stream")
        submitted = await submit(
            request,
            route,
            task_body,
            deadline_s=body.deadline_s,
            synchronous=False,
            priority=body.priority,
            prefix="input.",
        )
    return await accepted(services, submitted)


async def get_job(request: Request) -> Response:
    status = await own_job(request)
    outcome = await services_of(request).client.outcome(status.id) if status.state.is_terminal else None
    return json_response(job_reply(status, outcome))


async def cancel_job(request: Request) -> Response:
    """Cancel; a job that has ended stays as it is. A running one leaves its batch at the next step."""
    status = await own_job(request)
    client = services_of(request).client
    await client.cancel(status.id)
    return json_response(job_reply(await client.status(status.id), None))


async def follow_job(request: Request) -> Response:
    after = last_event_id(request.headers.get("last-event-id"))
    status = await own_job(request)
    services, tenant = services_of(request), principal_of(request).tenant
    services.streams.acquire(tenant)
    return EventStream(
        job_events(services.client, status.id, services.client.events(status.id, after), after),
        keep_alive_s=services.settings.event_keep_alive_s,
        send_timeout_s=services.settings.write_timeout_s,
        on_close=lambda: services.streams.release(tenant),
    )


async def own_job(request: Request) -> JobStatus:
    job_id = cast(str, request.path_params["id"])
    if _JOB_ID.fullmatch(job_id):
        with suppress(JobNotFound):
            status = await services_of(request).client.status(job_id)
            if status.tenant == principal_of(request).tenant:
                return status
    # The same words for all three cases, so that nobody learns what others have.
    message = "There is no such job. Results are kept for a limited time after a job has ended."
    raise ApiError(404, "job_not_found", message, param="id")
