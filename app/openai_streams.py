"""Event streams as the OpenAI SDK reads them: pictures that grow, texts in pieces, the usage at the end.

An error ends a stream as `{"error": {…}}`, which the SDK raises; texts end with `[DONE]`.
"""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from sse_starlette import ServerSentEvent
from starlette.requests import Request

from app.compatible import continuation, image_usage, text_usage, texts_of
from app.errors import ApiError, from_failure, from_queue_error, internal_error
from app.listening import Listening
from app.replies import base64_text
from app.running import Submitted
from app.schemas.openai import ChatBody, CompletionBody
from app.services import services_of
from app.sse import sse
from jobs.errors import QueueError
from jobs.events import PartialImage, PartialText
from jobs.results import ImagesResult, JobFailure, Result, Usage
from jobs.status import JobStatus
from telemetry.logging import get_logger

_DONE = ServerSentEvent("[DONE]", sep="\n")


@dataclass(frozen=True)
class PictureLook:
    """What every event of a picture says of it; `kind` is image_generation or image_edit."""

    kind: str
    size: str
    output_format: str

    def event(self, name: str, data: bytes, **more: Any) -> ServerSentEvent:
        kind = f"{self.kind}.{name}"
        fields = {
            "type": kind,
            "b64_json": base64_text(data),
            "created_at": int(time.time()),
            "size": self.size,
            "quality": "auto",
            "background": "opaque",
            "output_format": self.output_format,
        }
        return sse(kind, fields | more)


async def image_events(
    request: Request, submitted: Submitted, ear: Listening, look: PictureLook
) -> AsyncGenerator[ServerSentEvent]:
    async for item in _followed(request, submitted, ear):
        match item:
            case PartialImage(index=index, partial_index=partial_index, data=data):
                yield look.event("partial_image", data, partial_image_index=partial_index, image_index=index)
            case (_, ImagesResult(images=images, usage=usage)):
                for place, image in enumerate(images):
                    # The usage of all stands in the last event, so that a client may add them up.
                    own = usage if place == len(images) - 1 else Usage()
                    yield look.event("completed", image.data, usage=image_usage(own), image_index=place)
            case ServerSentEvent():
                yield item
            case _:
                pass


async def chat_events(
    request: Request, submitted: Submitted, ear: Listening, body: ChatBody
) -> AsyncGenerator[ServerSentEvent]:
    pieces = TextPieces()
    head: dict[str, Any] = {"id": submitted.id, "created": int(time.time()), "model": await _model(request)}

    def chunk(choices: list[dict[str, Any]], **more: Any) -> ServerSentEvent:
        return sse(None, {**head, "object": "chat.completion.chunk", "choices": choices, **more})

    def choice(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}

    yield chunk([choice(index, {"role": "assistant", "content": ""}) for index in range(body.n or 1)])
    async for item in _followed(request, submitted, ear):
        match item:
            case PartialText(index=0, text=text) if (body.n or 1) == 1:
                if piece := pieces.grown(text):
                    yield chunk([choice(0, {"content": piece})])
            case (_, result):
                for index, text in enumerate(texts_of(result)):
                    yield chunk([choice(index, {"content": pieces.rest(text) if index == 0 else text})])
                    yield chunk([choice(index, {}, "stop")])
                if _wants_usage(body.stream_options):
                    yield chunk([], usage=text_usage(result.usage))
                yield _DONE
            case ServerSentEvent():
                yield item
            case _:
                pass


async def completion_events(
    request: Request, submitted: Submitted, ear: Listening, body: CompletionBody
) -> AsyncGenerator[ServerSentEvent]:
    head: dict[str, Any] = {"id": submitted.id, "created": int(time.time()), "model": await _model(request)}
    async for item in _followed(request, submitted, ear):
        match item:
            case (_, result):
                for index, text in enumerate(texts_of(result)):
                    choice = {"index": index, "text": continuation(text, body), "logprobs": None}
                    choices = [{**choice, "finish_reason": "stop"}]
                    yield sse(None, {**head, "object": "text_completion", "choices": choices})
                if _wants_usage(body.stream_options):
                    last = {"object": "text_completion", "choices": [], "usage": text_usage(result.usage)}
                    yield sse(None, {**head, **last})
                yield _DONE
            case ServerSentEvent():
                yield item
            case _:
                pass


class TextPieces:
    """Cuts a growing text into pieces. The last word is held back: it may still change as it grows."""

    def __init__(self) -> None:
        self._sent = ""

    def grown(self, text: str) -> str:
        """What can be said now; empty when there is nothing new or the text has taken another course."""
        settled = text[: text.rfind(" ") + 1]
        if len(settled) <= len(self._sent) or not settled.startswith(self._sent):
            return ""
        piece, self._sent = settled[len(self._sent) :], settled
        return piece

    def rest(self, text: str) -> str:
        return text.removeprefix(self._sent)


async def _followed(
    request: Request, submitted: Submitted, ear: Listening
) -> AsyncGenerator[PartialImage | PartialText | tuple[JobStatus, Result] | ServerSentEvent]:
    """Partial results, then the result, or an error event. Never raises."""
    client = services_of(request).client
    try:
        async for event in ear.events(submitted.id):
            if isinstance(event.body, PartialImage | PartialText):
                yield event.body
        status, outcome = await client.report(submitted.id)
        if isinstance(outcome, JobFailure):
            yield sse("error", from_failure(outcome).body())
        elif outcome is not None:
            yield status, outcome
        else:
            yield sse("error", internal_error().body())
    except ApiError as error:
        yield sse("error", error.body())
    except QueueError as error:
        yield sse("error", from_queue_error(error).body())
    except Exception:
        get_logger("app.openai").exception("stream_failed", job_id=submitted.id)
        yield sse("error", internal_error().body())


async def _model(request: Request) -> str:
    services = services_of(request)
    return (await services.models.current(services.client)).name


def _wants_usage(options: dict[str, Any] | None) -> bool:
    return bool(options and options.get("include_usage"))
