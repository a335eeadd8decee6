"""The text routes: chats about an image, and completions."""

import asyncio
import hashlib
from dataclasses import replace

from fastapi import Request
from starlette.responses import Response

from app.bodies import read_body
from app.errors import ApiError
from app.field_errors import FieldNames
from app.openai import text_mapping
from app.openai.jobs import open_request, reply, submit
from app.openai.parameters import check_parameters
from app.openai.schemas import ChatBody, CompletionBody
from app.openai.streams import ChatEvents, CompletionEvents
from app.services import Services, services_of
from app.submission import Submission
from app.tasks.base import WarningReply
from jobs.contract.requests import Task
from jobs.contract.results import Result
from jobs.contract.status import JobStatus


async def chat(request: Request) -> Response:
    services = services_of(request)
    submission = await open_request(request, text_mapping.CHAT_NAMES)
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, ChatBody, None)
        services.names.check(body.model, submission.model)
        warnings = check_parameters(body)
        chat_ = text_mapping.map_chat(body, submission.model, services.settings.chat_text)
        head = _head(services, submission, body.model, warnings + chat_.warnings)
        job = await submit(request, submission, chat_.task, chat_.fields, streams=bool(body.stream))
        # The image is in the queue now; this process does not keep it while the client waits.
        body = body.model_copy(update={"messages": []})
        del chat_
    if job.subscription:
        events = ChatEvents(job.submitted.id, head, body)
        return job.stream(request, events, head.warnings)
    status, result = await job.result(request)
    return reply(status, text_mapping.chat_reply(status, result, head))


async def complete(request: Request) -> Response:
    services = services_of(request)
    submission = await open_request(request, text_mapping.COMPLETION_NAMES)
    with services.bodies.hold(request) as counted:
        body = await read_body(counted, CompletionBody, None)
        services.names.check(body.model, submission.model)
        head = _head(services, submission, body.model, check_parameters(body))
    if not body.stream:
        results = await _complete_all(request, submission, body)
        answer = text_mapping.completion_reply(results, body, head)
        return reply(results[0][0], answer)
    if len(body.prompt) > 1:
        message = "A stream has one prompt. Send one prompt, or omit stream."
        raise ApiError(400, "unsupported_parameter", message, param="prompt")
    fields = text_mapping.completion_fields(body, body.prompt[0], submission.model)
    job = await submit(request, submission, Task.TEXT2TEXT, fields, streams=True)
    return job.stream(request, CompletionEvents(job.submitted.id, head, body), head.warnings)


async def _complete_all(
    request: Request, submission: Submission, body: CompletionBody
) -> list[tuple[JobStatus, Result]]:
    """Return the result of each prompt: a job for each, which all run at once. If one fails, so do all."""

    async def result_of(index: int, prompt: str) -> tuple[JobStatus, Result]:
        own = submission
        if len(body.prompt) > 1:
            own = replace(
                submission,
                idempotency_key=_key_of(submission.idempotency_key, index),
                names=FieldNames(aliases={"prompt": f"prompt[{index}]"}),
            )
        fields = text_mapping.completion_fields(body, prompt, submission.model)
        job = await submit(request, own, Task.TEXT2TEXT, fields, streams=False)
        return await job.result(request)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(result_of(*item)) for item in enumerate(body.prompt)]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _key_of(key: str | None, index: int) -> str | None:
    """Return the idempotency key of one of several prompts."""
    return None if key is None else f"{hashlib.sha256(key.encode()).hexdigest()}-{index}"


def _head(
    services: Services, submission: Submission, requested: str | None, warnings: list[WarningReply]
) -> text_mapping.ReplyHead:
    model = submission.model
    return text_mapping.ReplyHead(services.names.reply_name(requested, model), model.revision, warnings)
