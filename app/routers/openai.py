"""The OpenAI-compatible routes; the official SDK is their test client.

Faults of a request are 400 here, as OpenAI has them. The SDK repeats a request after 408, 409, 429 and 5xx
without any key: `app.retries` finds the job of the earlier attempt.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app import compatible, openai_streams
from app.bodies import MultipartForm, check_body, read_body
from app.errors import ApiError, json_response
from app.listening import Listening, listening
from app.openapi import models_operation, openai_operation
from app.replies import timings_reply
from app.retries import Attempt
from app.running import Submitted, admit, finish, stream, submit
from app.schemas.openai import (
    ChatBody,
    CompletionBody,
    EditsBody,
    GenerationsBody,
    ImagesBody,
    OpenAISchema,
)
from app.services import principal_of, services_of
from app.tasks import TaskRoute, route_of
from jobs.announcements import ModelInfo
from jobs.job import JobState, Task
from jobs.results import ImagesResult, Result
from jobs.status import JobStatus

_EDITS_FORM = MultipartForm(files={"image": ("image",), "mask": ("mask",)})
_IMAGE_NAMES = {"image_prompt.image": "image", "image_prompt.mask": "mask"}
_CHAT_NAMES = {"image": "messages", "question": "messages"}
_LOST_STATES = (JobState.CANCELLED, JobState.FAILED, JobState.EXPIRED, JobState.DEAD)
Handler = Callable[[Request], Awaitable[Response]]


def openai_router() -> APIRouter:
    router = APIRouter(tags=["openai"])
    posts: tuple[tuple[str, Handler, type[OpenAISchema], str], ...] = (
        ("/v1/images/generations", generate_images, GenerationsBody, "Draw pictures for a prompt"),
        ("/v1/images/edits", edit_image, EditsBody, "Draw the masked part of a picture anew"),
        ("/v1/chat/completions", chat, ChatBody, "Describe a picture, or answer a question about it"),
        ("/v1/completions", complete, CompletionBody, "Continue a text"),
    )
    for path, handler, body, summary in posts:
        router.add_api_route(
            path,
            _told_as_openai(handler),
            methods=["POST"],
            name=handler.__name__,
            summary=summary,
            response_model=None,
            openapi_extra=openai_operation(body, _EDITS_FORM if body is EditsBody else None),
        )
    for path, handler in (("/v1/models", list_models), ("/v1/models/{id:path}", get_model)):
        router.add_api_route(
            path,
            handler,
            methods=["GET"],
            summary="The loaded model",
            response_model=None,
            openapi_extra=models_operation(one=handler is get_model),
        )
    return router


async def generate_images(request: Request) -> Response:
    return await _images(request, GenerationsBody, None)


async def edit_image(request: Request) -> Response:
    return await _images(request, EditsBody, _EDITS_FORM)


async def chat(request: Request) -> Response:
    with services_of(request).bodies.hold(request) as counted:
        body, model = await _read(counted, ChatBody, Task.IMAGE2TEXT)
        task, fields = compatible.chat_fields(body, model)
        submitted, ear = await _submit(request, task, fields, streams=bool(body.stream))
        # The picture is in the queue; while the client waits, nothing here keeps it.
        body = body.model_copy(update={"messages": []})
        del fields
    if ear:
        events = openai_streams.chat_events(request, submitted, ear, body)
        return stream(request, submitted, ear, events)
    status, result = await _finish(request, submitted)
    return _reply(status, compatible.chat_reply(status, result))


async def complete(request: Request) -> Response:
    with services_of(request).bodies.hold(request) as counted:
        body, model = await _read(counted, CompletionBody, Task.TEXT2TEXT)
        fields = compatible.completion_fields(body, model)
        submitted, ear = await _submit(request, Task.TEXT2TEXT, fields, streams=bool(body.stream))
    if ear:
        events = openai_streams.completion_events(request, submitted, ear, body)
        return stream(request, submitted, ear, events)
    status, result = await _finish(request, submitted)
    return _reply(status, compatible.completion_reply(status, result, body))


async def list_models(request: Request) -> Response:
    services = services_of(request)
    model = await services.models.current(services.client)
    return json_response({"object": "list", "data": [compatible.model_entry(model)]})


async def get_model(request: Request) -> Response:
    services = services_of(request)
    model = await services.models.current(services.client)
    if request.path_params["id"] != model.name:
        message = f"There is no such model here; the loaded one is {model.name}."
        raise ApiError(404, "model_not_found", message, param="model")
    return json_response(compatible.model_entry(model))


async def _images(request: Request, schema: type[ImagesBody], form: MultipartForm | None) -> Response:
    with services_of(request).bodies.hold(request) as counted:
        body, model = await _read(counted, schema, Task.TEXT2IMAGE, form)
        fields = compatible.images_fields(body, model)
        submitted, ear = await _submit(request, Task.TEXT2IMAGE, fields, streams=bool(body.stream))
        picture_format: str = fields["format"]
        del body, fields
    if ear:
        kind = "image_edit" if schema is EditsBody else "image_generation"
        look = openai_streams.PictureLook(kind, compatible.size_of(model), picture_format)
        events = openai_streams.image_events(request, submitted, ear, look)
        return stream(request, submitted, ear, events)
    status, result = await _finish(request, submitted)
    assert isinstance(result, ImagesResult)
    return _reply(status, compatible.images_reply(status, result, model, picture_format))


async def _read(
    request: Request, schema: type[Any], task: Task, form: MultipartForm | None = None
) -> tuple[Any, ModelInfo]:
    """The body in OpenAI's words, once the queue has room for it; and the model that it is for."""
    services = services_of(request)
    await admit(request, route_of(task))
    body = await read_body(request, schema, form)
    return body, await services.models.current(services.client)


async def _submit(
    request: Request, task: Task, fields: dict[str, Any], *, streams: bool
) -> tuple[Submitted, Listening | None]:
    route = route_of(task)
    body = check_body(route.body, fields, strict=False)
    with listening(request, wanted=streams) as ear:
        submitted = await _submit_once(request, route, body, ear)
        if not submitted.created and not request.headers.get("idempotency-key"):
            status = await services_of(request).client.status(submitted.id)
            if status.state in _LOST_STATES:
                # The earlier attempt came to nothing, so this one is a first attempt again.
                submitted = await _submit_once(request, route, body, ear, anew=True)
        return submitted, ear


async def _submit_once(
    request: Request, route: TaskRoute, body: Any, ear: Listening | None, *, anew: bool = False
) -> Submitted:
    services, tenant = services_of(request), principal_of(request).tenant
    count = request.headers.get("x-stainless-retry-count", "")[:4]

    def key_of(digest: str) -> str:
        retry_count = 0 if anew else int(count)
        attempt = services.retries.attempt(f"{tenant}:{request.url.path}:{digest}", retry_count)
        request.scope["sdk_attempt"] = attempt
        return attempt.key

    return await submit(
        request,
        route,
        body,
        deadline_s=services.settings.request_timeout_s,
        synchronous=True,
        key_of=key_of if count.isascii() and count.isdigit() else None,
        ear=ear,
    )


async def _finish(request: Request, submitted: Submitted) -> tuple[JobStatus, Result]:
    status, result = await finish(request, submitted)
    attempt: Attempt | None = request.scope.get("sdk_attempt")
    if attempt:
        attempt.answered = True
    return status, result


def _reply(status: JobStatus, body: dict[str, Any]) -> Response:
    total_ms = timings_reply(status.timings)["total_ms"] or 0
    return json_response(body, headers={"x-job-id": status.id, "openai-processing-ms": str(int(total_ms))})


def _told_as_openai(handler: Handler) -> Handler:
    """Faults of a request as 400, and the native names of fields as the client knows them."""
    names = _CHAT_NAMES if handler is chat else _IMAGE_NAMES

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ApiError as error:
            error.status = 400 if error.status == 422 else error.status
            if error.param in names:
                error.message = error.message.replace(error.param, names[error.param])
                error.param = names[error.param]
            raise

    return answer
