"""The OpenAI-compatible routes; the official SDK is their test client."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response

from app.bodies import MultipartForm
from app.errors import ApiError, json_response
from app.openai.image_routes import EDITS_FORM, VARIATIONS_FORM, edit_image, generate_images, vary_image
from app.openai.models import model_reply
from app.openai.replies import (
    ChatReply,
    CompletedImageEvent,
    CompletionReply,
    GeneratedImagesReply,
    ModelListReply,
    ModelReply,
    PartialImageEvent,
    TextChunk,
)
from app.openai.responses.replies import ResponseEvent, ResponsesReply
from app.openai.responses.routes import cancel_response, get_response, respond
from app.openai.responses.schemas import RESPONSES_EXAMPLE, ResponsesBody
from app.openai.schemas import (
    EXAMPLES,
    ChatBody,
    CompletionBody,
    EditsBody,
    GenerationsBody,
    OpenAIBody,
    VariationsBody,
)
from app.openai.text_routes import chat, complete
from app.openapi import (
    BODY_ERRORS,
    COMPATIBLE_HEADERS,
    IDEMPOTENCY_KEY,
    IMAGE_CONTENT,
    READING_ERRORS,
    SEED_HEADER,
    body_operation,
    errors,
    event_stream,
    response,
)
from app.services import services_of

ModelId = Annotated[str, Path(description="A name that /v1/models lists, or `rudolph`.")]


@dataclass(frozen=True)
class _Route:
    path: str
    handler: Callable[[Request], Coroutine[Any, Any, Response]]
    body: type[OpenAIBody]
    reply: type[BaseModel]
    summary: str
    form: MultipartForm | None = None
    events: tuple[type[BaseModel], ...] = ()
    """Models of the data of its stream; none: it has no stream."""


_IMAGE_EVENTS = (PartialImageEvent, CompletedImageEvent)
_EXAMPLES = {**EXAMPLES, ResponsesBody: RESPONSES_EXAMPLE}
_ROUTES = (
    _Route(
        "/images/generations",
        generate_images,
        GenerationsBody,
        GeneratedImagesReply,
        "Generate images",
        events=_IMAGE_EVENTS,
    ),
    _Route(
        "/images/edits",
        edit_image,
        EditsBody,
        GeneratedImagesReply,
        "Redraw a part of an image",
        form=EDITS_FORM,
        events=_IMAGE_EVENTS,
    ),
    _Route(
        "/images/variations",
        vary_image,
        VariationsBody,
        GeneratedImagesReply,
        "Draw variations of an image",
        form=VARIATIONS_FORM,
    ),
    _Route(
        "/chat/completions",
        chat,
        ChatBody,
        ChatReply,
        "Describe an image, or answer a question about it",
        events=(TextChunk,),
    ),
    _Route("/completions", complete, CompletionBody, CompletionReply, "Continue a text", events=(TextChunk,)),
    _Route(
        "/responses",
        respond,
        ResponsesBody,
        ResponsesReply,
        "Describe an image, or draw one",
        events=(ResponseEvent,),
    ),
)


class OpenAIRoute(APIRoute):
    """Replies 400 where a native route replies 422, as OpenAI does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ApiError as error:
                error.status = 400 if error.status == 422 else error.status
                raise

        return answer


def openai_router() -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=OpenAIRoute)
    for route in _ROUTES:
        draws = route.reply is GeneratedImagesReply
        content = IMAGE_CONTENT if draws else {}
        headers = {**COMPATIBLE_HEADERS, **(SEED_HEADER if draws else {})}
        if route.events:
            last = "[DONE]" if TextChunk in route.events else None
            content = {**content, **event_stream(*route.events, last=last)}
        router.add_api_route(
            route.path,
            route.handler,
            methods=["POST"],
            summary=route.summary,
            response_model=route.reply,
            response_description="As in OpenAI's API.",
            responses={200: response(content=content, headers=headers)} | errors(*BODY_ERRORS, 404),
            openapi_extra={
                **body_operation(route.body, _EXAMPLES[route.body], form=route.form),
                "parameters": [IDEMPOTENCY_KEY],
            },
        )
    router.add_api_route(
        "/models",
        list_models,
        methods=["GET"],
        summary="The names of the loaded model",
        response_model=ModelListReply,
        responses={200: response()} | errors(*READING_ERRORS),
    )
    router.add_api_route(
        "/models/{id:path}",
        get_model,
        methods=["GET"],
        summary="The loaded model",
        response_model=ModelReply,
        responses={200: response()} | errors(*READING_ERRORS, 404, 422),
    )
    for path, handler, method, summary in (
        ("/responses/{id}", get_response, "GET", "Read a response that runs in the background"),
        ("/responses/{id}/cancel", cancel_response, "POST", "Cancel a response in the background"),
    ):
        router.add_api_route(
            path,
            handler,
            methods=[method],
            summary=summary,
            response_model=ResponsesReply,
            responses={200: response()} | errors(*READING_ERRORS, 404, 422),
        )
    return router


async def list_models(request: Request) -> Response:
    services = services_of(request)
    model = await services.models.current()
    return json_response(
        ModelListReply(data=[model_reply(model, name) for name in services.names.listed(model)])
    )


async def get_model(request: Request, id: ModelId) -> Response:
    services = services_of(request)
    model = await services.models.current()
    services.names.check(id, model)
    return json_response(model_reply(model, id))
