"""From an HTTP request to a job in the queue, and to its answer: the walk that every task route shares."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from sse_starlette import ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from app.admission import (
    announced_bytes,
    deadline_header,
    idempotency_key,
    prefers_async,
    seed_for,
)
from app.bodies import read_body
from app.errors import ApiError, deadline_passed, from_failure, json_response
from app.listening import Listening, listening
from app.replies import job_reply, media_type_of, task_reply
from app.services import Services, principal_of, services_of
from app.sse import EventStream, job_events, sse
from app.tasks import TaskRoute, check_task
from app.translate import rows_of
from app.waiting import wait_for_report
from jobs.codec import request_digest
from jobs.errors import QueueError
from jobs.job import Job
from jobs.results import ImagesResult, JobFailure, Result
from jobs.status import JobStatus

PICTURE_TYPES = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


@dataclass(frozen=True)
class Submitted:
    """A job that the queue has accepted; `created` is False for a repeated idempotency key."""

    id: str
    created: bool
    key: str | None
    deadline_s: float
    seed: int


async def answer_task(request: Request, route: TaskRoute) -> Response:
    """A task route from the first byte to the reply."""
    services = services_of(request)
    later = prefers_async(request)
    deadline_s = deadline_header(request)
    if not later:
        limit_s = services.settings.request_timeout_s
        deadline_s = min(deadline_s or limit_s, limit_s)
    await admit(request, route)
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, route.body, route.form)
        streams = bool(getattr(body, "stream", False)) and not later
        wanted = {} if streams else wanted_picture(request, body)
        with listening(request, wanted=streams) as ear:
            submitted = await submit(
                request,
                route,
                body,
                deadline_s=deadline_s,
                synchronous=not later,
                overrides=wanted,
                ear=ear,
            )
        del body
    if later:
        return await accepted(services, submitted)
    if ear:
        events = job_events(services.client, submitted.id, ear.events(submitted.id))
        return stream(request, submitted, ear, events)
    status, result = await finish(request, submitted)
    return render(status, result, seed=submitted.seed, as_picture=bool(wanted))


async def admit(request: Request, route: TaskRoute) -> None:
    """Refuse early, before the body is read: no model, a task it cannot do, no room in the queue."""
    services = services_of(request)
    check_task(route.task, await services.models.current(services.client))
    # The SDK's repetition asks for a job that has its room already; `submit` decides that, whole and at once.
    key = idempotency_key(request)
    if key or request.headers.get("x-stainless-retry-count", "0") == "0":
        tenant = principal_of(request).tenant
        await services.client.check_capacity(tenant, announced_bytes(request), key=key)


def wanted_picture(request: Request, body: Any) -> Mapping[str, Any]:
    """`Accept: image/…` asks for the bytes of a single picture: the request's format, as an override."""
    accepted_types = [part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
    formats = [PICTURE_TYPES[kind] for kind in accepted_types if kind in PICTURE_TYPES]
    if not formats or "format" not in type(body).model_fields or "application/json" in accepted_types:
        return {}
    if body.n != 1:
        message = (
            f"Accept: image/{formats[0]} answers with one picture; send n = 1 or accept application/json."
        )
        raise ApiError(422, "one_picture_only", message, param="n")
    chosen = body.format if "format" in body.model_fields_set and body.format in formats else formats[0]
    return {"format": chosen}


async def submit(
    request: Request,
    route: TaskRoute,
    body: Any,
    *,
    deadline_s: float | None,
    synchronous: bool,
    priority: int = 0,
    prefix: str = "",
    overrides: Mapping[str, Any] | None = None,
    key_of: Callable[[str], str] | None = None,
    ear: Listening | None = None,
) -> Submitted:
    """Check the body against the model, decode its pictures, and put the job into the queue.

    `key_of` derives a key from the request's digest where the client has sent none.
    """
    services, principal = services_of(request), principal_of(request)
    key = idempotency_key(request)
    model = await services.models.current(services.client)
    check_task(route.task, model)
    route.check(body, model)
    if overrides:
        body = body.model_copy(update=overrides)
    pictures = await services.pictures.check(route.uploads(body), prefix=prefix)
    if key is None and key_of is not None:
        key = key_of(request_digest(route.build(body, pictures, 0)))
    seed = seed_for(getattr(body, "seed", None), principal.tenant, key)
    job_request = route.build(body, pictures, seed)
    cost = route.candidates(body)
    await principal.charge_candidates(lambda: services.client, cost)
    job = Job(
        id=f"job_{uuid.uuid4().hex}",
        task=route.task,
        request=job_request,
        tenant=principal.tenant,
        priority=priority,
        deadline_s=deadline_s,
        idempotency_key=key,
        synchronous=synchronous,
        rows=rows_of(job_request),
        model_revision=f"{model.name}@{model.revision}",
        trace=request.scope["traceparent"],
    )
    if ear:
        ear.expect(job.id)
    try:
        submission = await services.client.submit(job)
    except BaseException:
        await principal.refund_candidates(lambda: services.client, cost)
        raise
    if not submission.created:
        await principal.refund_candidates(lambda: services.client, cost)
    return Submitted(
        submission.id, submission.created, key, deadline_s or services.settings.request_timeout_s, seed
    )


async def accepted(services: Services, submitted: Submitted) -> Response:
    """202: the job's own address, and how it stands."""
    status = await services.client.status(submitted.id)
    headers = {"Location": f"/v1/jobs/{submitted.id}", "Preference-Applied": "respond-async"}
    return json_response(job_reply(status, None), status=202, headers=headers)


async def finish(request: Request, submitted: Submitted) -> tuple[JobStatus, Result]:
    """Wait for the job while the client does. Raises ApiError for a job that has no result."""
    services = services_of(request)
    status, outcome = await wait_for_report(
        services.client,
        services.waiters,
        request,
        submitted.id,
        owns=submitted.created,
        grace_s=services.settings.disconnect_grace_s if submitted.key else 0.0,
        deadline_s=submitted.deadline_s,
    )
    if isinstance(outcome, JobFailure):
        raise from_failure(outcome)
    return status, outcome


def stream(
    request: Request, submitted: Submitted, ear: Listening, source: AsyncGenerator[ServerSentEvent]
) -> EventStream:
    """The job's events as the reply of its own request: the job is cancelled when the reader leaves."""
    services = services_of(request)
    settings = services.settings
    return EventStream(
        _owned_events(services, submitted, source),
        keep_alive_s=settings.event_keep_alive_s,
        send_timeout_s=settings.write_timeout_s,
        on_close=ear.close,
        shutdown_grace_s=settings.shutdown_grace_s,
        headers={"x-job-id": submitted.id},
    )


async def _owned_events(
    services: Services, submitted: Submitted, source: AsyncGenerator[ServerSentEvent]
) -> AsyncGenerator[ServerSentEvent]:
    client, waiters = services.client, services.waiters
    grace_s = services.settings.disconnect_grace_s if submitted.key else 0.0
    ends_at = time.monotonic() + submitted.deadline_s
    async with (
        waiters.joined(client, submitted.id, owns=submitted.created, grace_s=grace_s),
        aclosing(source),
    ):
        while True:
            try:
                # Not `wait_for`: its task may still run the source when this one is told to close it.
                async with asyncio.timeout(max(ends_at - time.monotonic(), 0)):
                    event = await anext(source)
            except StopAsyncIteration:
                return
            except TimeoutError:
                break
            yield event
        if submitted.created:
            with suppress(QueueError):
                await client.cancel(submitted.id)
        yield sse("error", deadline_passed(submitted.deadline_s).body())


def render(status: JobStatus, result: Result, *, seed: int, as_picture: bool) -> Response:
    if as_picture and isinstance(result, ImagesResult):
        image = result.images[0]
        headers = {"x-seed": str(image.seed), "x-job-id": status.id}
        return Response(image.data, media_type=media_type_of(image.data), headers=headers)
    return json_response(task_reply(status, result, seed=seed))
