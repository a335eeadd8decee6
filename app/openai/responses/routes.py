"""`/v1/responses`, and the responses that run in the background."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Path, Request
from starlette.responses import Response

from app.bodies import read_body
from app.errors import ApiError, from_failure, internal_error, json_response
from app.field_errors import FieldNames
from app.openai.image_mapping import images_fields
from app.openai.jobs import OpenAIJob, open_request, reply_headers, submit, warning_headers
from app.openai.parameters import check_parameters
from app.openai.rendering import Rendering, rendering_of
from app.openai.responses import mapping
from app.openai.responses.events import ImageCallEvents, MessageEvents
from app.openai.responses.replies import ResponsesReply
from app.openai.responses.results import (
    STORED,
    ResponseHead,
    failed_reply,
    image_reply,
    shown_fields,
    text_reply,
)
from app.openai.responses.schemas import ResponsesBody
from app.openai.schemas import EditsBody, PromptedImagesBody
from app.own_jobs import JOB_ID_PATTERN, own_job
from app.services import services_of
from app.submission import Submission
from app.tasks.base import WarningReply
from app.tasks.text2image import media_type
from jobs.contract.job import JobState
from jobs.contract.requests import Task
from jobs.contract.results import ImagesResult, JobFailure

_STATES = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "in_progress",
    JobState.CANCELLED: "cancelled",
}
_TASKS = (Task.TEXT2IMAGE, Task.IMAGE2TEXT, Task.ANSWER)
_STORED_NAMES = FieldNames(aliases={"image": "input", "prompt": "input", "question": "input"})
ResponseId = Annotated[
    str,
    Path(
        description="The `id` of a response in the background.", json_schema_extra={"pattern": JOB_ID_PATTERN}
    ),
]


Answer = Callable[[], Awaitable[Response]]
"""Waits for the job of a request and replies. It holds nothing of the body."""


async def respond(request: Request) -> Response:
    services = services_of(request)
    submission = await open_request(request, FieldNames())
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, ResponsesBody, None)
        services.names.check(body.model, submission.model)
        warnings = check_parameters(body) + _check(body)
        tool, more = mapping.image_tool(body)
        conversation = mapping.read_input(body)
        if body.background:
            submission = replace(submission, synchronous=False, deadline_s=None)
        if tool is None:
            answer = await _submit_text(request, submission, body, conversation, warnings + more)
        else:
            warnings += more + mapping.image_warnings(tool, conversation)
            image_body, names = mapping.map_image(body, tool, conversation)
            own = replace(submission, names=names)
            answer = await _submit_image(request, own, body, image_body, warnings)
            del image_body
        # The image is in the queue now; this process does not keep it while the client waits.
        del body, conversation, tool
    return await answer()


def _check(body: ResponsesBody) -> list[WarningReply]:
    """Return warnings for settings of the text. Raises ApiError for what cannot be done."""
    settings = dict(body.text or {})
    form: Any = settings.pop("format", None) or {"type": "text"}
    if form != {"type": "text"}:
        message = "text.format must be text; a description cannot be forced into a schema. Omit it."
        raise ApiError(400, "unsupported_parameter", message, param="text.format")
    if body.background and body.stream:
        message = "A response in the background does not stream here. Omit stream or background."
        raise ApiError(400, "unsupported_parameter", message, param="stream")
    if settings.get("verbosity") in (None, "medium"):
        settings.pop("verbosity", None)
    return [
        WarningReply(code="no_effect", message=f"text.{name} has no effect.", param=f"text.{name}")
        for name in settings
    ]


async def _submit_text(
    request: Request,
    submission: Submission,
    body: ResponsesBody,
    conversation: mapping.Conversation,
    warnings: list[WarningReply],
) -> Answer:
    services = submission.services
    chat = mapping.map_text(body, conversation, submission.model, services.settings.chat_text)
    names = FieldNames(aliases={"image": "input", "question": "input", "max_tokens": "max_output_tokens"})
    job = await submit(
        request, replace(submission, names=names), chat.task, chat.fields, streams=bool(body.stream)
    )
    head = _head(submission, job, body, warnings + chat.warnings)

    async def answer() -> Response:
        if head.background:
            return _reply(head.reply("queued"), {})
        if job.subscription:
            return job.stream(request, MessageEvents(head, names), head.warnings)
        status, result = await job.result(request)
        return _reply(text_reply(head, status, result, names), reply_headers(status))

    return answer


async def _submit_image(
    request: Request,
    submission: Submission,
    body: ResponsesBody,
    image_body: PromptedImagesBody,
    warnings: list[WarningReply],
) -> Answer:
    services, names = submission.services, submission.names
    rendering = _rendering(submission, body, image_body)
    fields = images_fields(image_body, rendering)
    job = await submit(request, submission, Task.TEXT2IMAGE, fields, streams=bool(body.stream))
    head = _head(submission, job, body, warnings)
    action = "edit" if isinstance(image_body, EditsBody) else "generate"
    renderer = services.renderer

    async def answer() -> Response:
        if head.background:
            return _reply(head.reply("queued"), {})
        if job.subscription:
            events = ImageCallEvents(head, names, rendering=rendering, renderer=renderer, action=action)
            return job.stream(request, events, head.warnings)
        status, result = await job.result(request)
        assert isinstance(result, ImagesResult)
        file = await renderer.render(result.images[0].data, rendering)
        drawn = image_reply(head, status, result, file, names, shown=shown_fields(rendering, action))
        return _reply(drawn, reply_headers(status))

    return answer


def _rendering(submission: Submission, body: ResponsesBody, image_body: PromptedImagesBody) -> Rendering:
    strict = submission.services.settings.strict_size
    compression = image_body.output_compression
    try:
        rendering = rendering_of(
            image_body.size, image_body.output_format, compression, 1, submission.model, strict=strict
        )
    except ApiError as error:
        error.param = f"tools[0].{error.param}"
        raise
    if body.background and rendering.is_encoded_again:
        message = (
            "A response in the background is stored as the worker draws it. Omit size and "
            "output_compression, or background."
        )
        raise ApiError(400, "unsupported_parameter", message, param="background")
    return rendering


def _head(
    submission: Submission, job: OpenAIJob, body: ResponsesBody, warnings: list[WarningReply]
) -> ResponseHead:
    return ResponseHead(
        job.submitted.id,
        time.time(),
        submission.services.names.reply_name(body.model, submission.model),
        bool(body.background),
        mapping.echoed_fields(body),
        tuple(warnings),
    )


def _reply(answer: ResponsesReply, headers: dict[str, str]) -> Response:
    return json_response(answer, headers=headers | warning_headers(answer.warnings))


async def get_response(request: Request, id: ResponseId) -> Response:
    """Return a response that runs, or has run, in the background."""
    return await _stored(request, await _own_response(request, id))


async def cancel_response(request: Request, id: ResponseId) -> Response:
    """Cancel a response in the background. One that has ended does not change."""
    job_id = await _own_response(request, id)
    await services_of(request).client.cancel(job_id)
    return await _stored(request, job_id)


async def _own_response(request: Request, id: str) -> str:
    """Return the id of the job. Raises ApiError 404, also for a job that no response can have."""
    if id.startswith(STORED):
        with suppress(ApiError):
            status = await own_job(request, f"job_{id.removeprefix(STORED)}")
            if status.task in _TASKS:
                return status.id
    message = "There is no such response. Only those with background are stored, for a limited time."
    raise ApiError(404, "response_not_found", message, param="id")


async def _stored(request: Request, job_id: str) -> Response:
    services = services_of(request)
    status, outcome = await services.client.report(job_id)
    model = await services.models.current()
    head = ResponseHead(
        status.id, status.timings.created_s, services.names.reply_name(status.model, model), background=True
    )
    if status.state in _STATES:
        return _reply(head.reply(_STATES[status.state]), {})
    failure = outcome if isinstance(outcome, JobFailure) else status.failure
    if failure or outcome is None or isinstance(outcome, JobFailure):
        error = from_failure(failure) if failure else internal_error()
        return _reply(failed_reply(head, error), {})
    if isinstance(outcome, ImagesResult):
        file = outcome.images[0].data
        shown = {"output_format": media_type(file).removeprefix("image/")}
        return _reply(image_reply(head, status, outcome, file, _STORED_NAMES, shown=shown), {})
    return _reply(text_reply(head, status, outcome, _STORED_NAMES), {})
