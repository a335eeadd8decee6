"""Submits the job of an OpenAI-compatible request, with the retries of the official SDK."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request
from starlette.responses import Response

from app.bodies import check_body
from app.errors import json_response
from app.field_errors import FieldNames
from app.follow import (
    EventSubscription,
    Submitted,
    event_subscription,
    stream_own_job,
    wait_for_result,
)
from app.headers import last_event_id, sdk_retry_count
from app.openai.replies import GeneratedImagesReply, TextReply
from app.openai.sdk_retries import SDK_GRACE_S, Attempt
from app.services import services_of
from app.sse import EventFormat, EventStream
from app.submission import Submission, open_submission
from app.tasks import TASKS
from app.tasks.base import TaskInput, WarningReply, durations_ms
from jobs.contract.job import JobState
from jobs.contract.requests import Task
from jobs.contract.results import Result
from jobs.contract.status import JobStatus

_LOST_STATES = (JobState.CANCELLED, JobState.FAILED, JobState.EXPIRED, JobState.DEAD)


@dataclass(frozen=True)
class OpenAIJob:
    """The job of a request."""

    submitted: Submitted
    subscription: EventSubscription | None
    attempt: Attempt | None = None
    """The request of an SDK client that led to the job."""
    after: str | None = None
    """The last event that the client has received, of a stream that it continues."""

    async def result(self, request: Request) -> tuple[JobStatus, Result]:
        found = await wait_for_result(request, services_of(request), self.submitted)
        if self.attempt:
            self.attempt.answered = True
        return found

    def stream(self, request: Request, events: EventFormat, warnings: Sequence[WarningReply]) -> EventStream:
        """Return the events of a job that was submitted with `streams`, after the last one received."""
        assert self.subscription is not None
        return stream_own_job(
            services_of(request),
            self.submitted,
            self.subscription,
            events,
            warning_headers(warnings),
            after=self.after,
        )


async def open_request(request: Request, names: FieldNames) -> Submission:
    deadline_s = services_of(request).settings.request_timeout_s
    return await open_submission(request, deadline_s=deadline_s, names=names)


async def submit(
    request: Request, submission: Submission, task: Task, fields: dict[str, Any], *, streams: bool
) -> OpenAIJob:
    """Submit a native body. Raises ApiError with the names that the submission has for its fields."""
    route = TASKS[task]
    route.require(submission.model)
    item = TaskInput(route, check_body(route.body, fields, strict=False, names=submission.names))
    tenant = submission.principal.tenant
    # Read before the subscription: a header that is refused must not keep one.
    after = last_event_id(request) if streams else None
    with event_subscription(submission.services, tenant) if streams else nullcontext() as subscription:
        return replace(await _submit_once(request, submission, item, subscription), after=after)


async def _submit_once(
    request: Request, submission: Submission, item: TaskInput, subscription: EventSubscription | None
) -> OpenAIJob:
    """Submit the task, or find the job of an earlier attempt of the SDK, which sends no idempotency key."""
    retry_count = sdk_retry_count(request)
    if submission.idempotency_key or retry_count is None:
        return OpenAIJob(await submission.submit(item, subscription), subscription)
    services = submission.services
    request_id = f"{submission.principal.tenant}:{request.url.path}:{item.digest}"
    grace_s = services.settings.disconnect_grace_s
    grace_s = max(grace_s, SDK_GRACE_S) if grace_s else 0.0
    while True:
        attempt = services.retries.attempt(request_id, retry_count)
        keyed = replace(submission, idempotency_key=attempt.key, grace_s=grace_s)
        submitted = await keyed.submit(item, subscription)
        if submitted.created or (await services.client.status(submitted.id)).state not in _LOST_STATES:
            return OpenAIJob(submitted, subscription, attempt)
        # The earlier attempt has no result, so this request is a first attempt.
        retry_count = 0


def reply(status: JobStatus, body: GeneratedImagesReply | TextReply) -> Response:
    return json_response(body, headers=reply_headers(status) | warning_headers(body.warnings))


def reply_headers(status: JobStatus) -> dict[str, str]:
    total_ms = durations_ms(status.timings)["total_ms"] or 0
    return {"x-job-id": status.id, "openai-processing-ms": str(int(total_ms))}


def warning_headers(warnings: Sequence[WarningReply]) -> dict[str, str]:
    """Return the header with the codes of the warnings; none without warnings."""
    codes = dict.fromkeys(warning.code for warning in warnings)
    return {"x-warnings": ", ".join(codes)} if codes else {}
