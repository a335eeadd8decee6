"""`/hf/{task}`, and `/hf` and `/` for clients that know only the address of the server.

`InferenceClient(url)` posts every task to that one address, so the body decides about the task there.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import RootModel
from starlette.responses import JSONResponse, Response

from app.bodies import check_body, read_file_or_body
from app.errors import ApiError, json_response
from app.field_errors import FieldNames
from app.fields import ImageFormat
from app.headers import preferred_type
from app.huggingface.mapping import HUB_TASKS, HubTask, task_of
from app.huggingface.replies import StreamedText
from app.huggingface.schemas import CaptionParameters, DrawParameters, HubBody, TextGeneration, parameters_of
from app.huggingface.streams import HubTextEvents
from app.openai.jobs import open_request, reply_headers, submit, warning_headers
from app.openai.parameters import check_table
from app.openai.rendering import Rendering, rendering_of
from app.openai.replies import result_warnings
from app.openapi import (
    BODY_ERRORS,
    COMPATIBLE_HEADERS,
    IDEMPOTENCY_KEY,
    IMAGE_CONTENT,
    SEED_HEADER,
    body_operation,
    errors,
    event_stream,
    response,
)
from app.services import services_of
from app.submission import Submission
from jobs.contract.results import ImagesResult

IMAGE_TYPES: Mapping[str, ImageFormat] = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
Answer = Callable[[Request], Coroutine[Any, Any, Response]]
Replies = RootModel[list[Any]]


def hub_router() -> APIRouter:
    router = APIRouter(tags=["huggingface"])
    for task in HUB_TASKS.values():
        router.add_api_route(
            f"/hf/{task.name}",
            _handler(task),
            methods=["POST"],
            name=f"hf_{task.name.replace('-', '_')}",
            summary=task.summary,
            response_model=None if task.reply is None else list[task.reply],
            response_description="As in the hub's API.",
            responses={200: response(content=_content(task), headers=_headers(task))} | errors(*BODY_ERRORS),
            openapi_extra={**_body(task), "parameters": [IDEMPOTENCY_KEY]},
            response_class=Response if task.reply is None else JSONResponse,
        )
    for path in ("/hf", "/"):
        router.add_api_route(path, _handler(None), methods=["POST"], include_in_schema=False)
    return router


def _body(task: HubTask) -> dict[str, Any]:
    operation = body_operation(task.body, task.body.example)
    if task.name == "image-to-text":
        for kind in (*IMAGE_TYPES, "application/octet-stream"):
            operation["requestBody"]["content"][kind] = {
                "schema": {"type": "string", "contentMediaType": kind}
            }
    return operation


def _content(task: HubTask) -> dict[str, Any]:
    if task.reply is None:
        return IMAGE_CONTENT
    return event_stream(StreamedText) if task.body is TextGeneration else {}


def _headers(task: HubTask) -> dict[str, Any]:
    return {**COMPATIBLE_HEADERS, **(SEED_HEADER if task.reply is None else {})}


def _handler(task: HubTask | None) -> Answer:
    async def answer(request: Request) -> Response:
        return await _answer(request, task)

    return answer


async def _answer(request: Request, task: HubTask | None) -> Response:
    services = services_of(request)
    submission = await open_request(request, FieldNames())
    with services.bodies.hold(request) as counted:
        task, body = _read(request, await read_file_or_body(counted, HubBody), task)
        warnings = check_table(body, task.parameters)
        parameters = parameters_of(body)
        warnings += check_table(parameters, task.parameters, "parameters.")
        if isinstance(parameters, CaptionParameters):
            inner = parameters.generation_parameters
            warnings += check_table(inner, task.parameters, "parameters.generation_parameters.")
        call = task.call(body, submission.model)
        submission = replace(submission, names=call.names)
        rendering = None if call.replies else _rendering(request, body, submission)
        streamed = body if isinstance(body, TextGeneration) and body.stream else None
        fields = call.fields if rendering is None else {**call.fields, "format": rendering.job_format}
        job = await submit(request, submission, call.task, fields, streams=streamed is not None)
        names, replies = call.names, call.replies
        # The image is in the queue now; this process does not keep it while the client waits.
        del body, call, fields
    if job.subscription and streamed:
        return job.stream(request, HubTextEvents(streamed), warnings)
    status, result = await job.result(request)
    found = warnings + result_warnings(result, names.of)
    headers = {**reply_headers(status), **warning_headers(found)}
    if replies is not None:
        return json_response(Replies(list(replies(result))), headers=headers)
    assert isinstance(result, ImagesResult)
    assert rendering is not None
    image = result.images[0]
    file = await services_of(request).renderer.render(image.data, rendering)
    return Response(file, media_type=rendering.media_type, headers={"x-seed": str(image.seed), **headers})


def _read(request: Request, sent: bytes | HubBody, task: HubTask | None) -> tuple[HubTask, HubBody]:
    """Return the task, and its validated body. A file is the `inputs` of its task."""
    sends_file = isinstance(sent, bytes)
    fields: dict[str, Any] = {"inputs": sent} if isinstance(sent, bytes) else _fields(sent)
    if task is None:
        accepts_image = preferred_type(request, tuple(IMAGE_TYPES), default=None) is not None
        accepts_image &= preferred_type(request, ("application/json",), default=None) is None
        task = task_of(fields, sends_file=sends_file, accepts_image=accepts_image)
    return task, check_body(task.body, fields)


def _fields(body: HubBody) -> dict[str, Any]:
    """Return the fields that the client has sent."""
    return {"inputs": body.inputs, **(body.model_extra or {})}


def _rendering(request: Request, body: HubBody, submission: Submission) -> Rendering:
    kind = preferred_type(request, tuple(IMAGE_TYPES), default=None)
    parameters = parameters_of(body)
    assert isinstance(parameters, DrawParameters)
    strict = submission.services.settings.strict_size
    image_format = IMAGE_TYPES[kind] if kind else None
    try:
        return rendering_of(parameters.size, image_format, None, 1, submission.model, strict=strict)
    except ApiError as error:
        error.param = "parameters.width"
        raise
