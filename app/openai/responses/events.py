"""The event streams of `/v1/responses`: every event has a number, and the last one the whole response."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable
from typing import Any

from sse_starlette import ServerSentEvent

from app.errors import ApiError
from app.field_errors import FieldNames
from app.openai.rendering import ImageRenderer, Rendering
from app.openai.responses.replies import ResponseEvent, ResponsesReply
from app.openai.responses.results import ResponseHead, failed_reply, image_reply, shown_fields, text_reply
from app.openai.streams import TextPieces
from app.openai.text_mapping import choices_of
from app.sse import sse
from app.tasks.base import base64_text
from jobs.contract.events import Event, PartialImage, PartialText
from jobs.contract.results import ImagesResult, Result
from jobs.contract.status import JobStatus


class _ResponseEvents(ABC):
    """Events of both kinds of output."""

    def __init__(self, head: ResponseHead, names: FieldNames) -> None:
        self._head = head
        self._names = names
        self._number = -1

    def start(self) -> Iterable[ServerSentEvent]:
        for name in ("created", "in_progress"):
            yield self._event(name, response=self._head.reply("in_progress"))
        yield from self.begin()

    @abstractmethod
    def begin(self) -> Iterable[ServerSentEvent]: ...

    def error(self, error: ApiError) -> ServerSentEvent:
        # With `error`, so that the SDK raises it as in the other streams.
        failed = failed_reply(self._head, error)
        body = error.reply().error
        event = ResponseEvent.model_validate(
            {
                "type": "error",
                "sequence_number": self._number + 1,
                "response": failed,
                "error": body,
                "code": body.code,
                "message": body.message,
                "param": body.param,
            }
        )
        return sse("error", event)

    def _event(self, event_name: str, **fields: Any) -> ServerSentEvent:
        self._number += 1
        name = f"response.{event_name}"
        event = ResponseEvent.model_validate({"type": name, "sequence_number": self._number, **fields})
        return sse(name, event)

    def _completed(self, reply: ResponsesReply) -> ServerSentEvent:
        return self._event(reply.status, response=reply)


class MessageEvents(_ResponseEvents):
    """A text in pieces."""

    def __init__(self, head: ResponseHead, names: FieldNames) -> None:
        super().__init__(head, names)
        self._pieces = TextPieces()
        self._place = {"item_id": head.message(None).id, "output_index": 0, "content_index": 0}

    def begin(self) -> Iterable[ServerSentEvent]:
        yield self._event("output_item.added", output_index=0, item=self._head.message(None))
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("content_part.added", **self._place, part=part)

    async def event(self, event: Event) -> AsyncIterable[ServerSentEvent]:
        match event.body:
            case PartialText(index=0, text=text):
                if piece := self._pieces.grown(text):
                    yield self._delta(piece)
            case _:
                pass

    async def result(self, status: JobStatus, result: Result) -> AsyncIterable[ServerSentEvent]:
        choice = choices_of(result)[0]
        if rest := self._pieces.rest(choice.text):
            yield self._delta(rest)
        item = self._head.message(choice)
        yield self._event("output_text.done", **self._place, text=choice.text, logprobs=[])
        yield self._event("content_part.done", **self._place, part=item.content[0].model_dump())
        yield self._event("output_item.done", output_index=0, item=item)
        yield self._completed(text_reply(self._head, status, result, self._names))

    def _delta(self, text: str) -> ServerSentEvent:
        return self._event("output_text.delta", **self._place, delta=text, logprobs=[])


class ImageCallEvents(_ResponseEvents):
    """An image with its partial images."""

    def __init__(
        self,
        head: ResponseHead,
        names: FieldNames,
        *,
        rendering: Rendering,
        renderer: ImageRenderer,
        action: str,
    ) -> None:
        super().__init__(head, names)
        self._rendering = rendering
        self._renderer = renderer
        self._shown = shown_fields(rendering, action)
        self._place = {"item_id": head.image().id, "output_index": 0}

    def begin(self) -> Iterable[ServerSentEvent]:
        yield self._event("output_item.added", output_index=0, item=self._head.image(**self._shown))
        for name in ("in_progress", "generating"):
            yield self._event(f"image_generation_call.{name}", **self._place)

    async def event(self, event: Event) -> AsyncIterable[ServerSentEvent]:
        match event.body:
            case PartialImage(index=0, partial_index=index, data=data):
                file = await self._renderer.render(data, self._rendering)
                yield self._event(
                    "image_generation_call.partial_image",
                    **self._place,
                    partial_image_index=index,
                    partial_image_b64=base64_text(file),
                    output_format=self._rendering.format,
                    size=self._rendering.size,
                    background="opaque",
                    quality="auto",
                )
            case _:
                pass

    async def result(self, status: JobStatus, result: Result) -> AsyncIterable[ServerSentEvent]:
        assert isinstance(result, ImagesResult)
        file = await self._renderer.render(result.images[0].data, self._rendering)
        reply = image_reply(self._head, status, result, file, self._names, shown=self._shown)
        yield self._event("image_generation_call.completed", **self._place)
        yield self._event("output_item.done", output_index=0, item=reply.output[0])
        yield self._event("output_item.added", output_index=1, item=self._head.message(None))
        yield self._event("output_item.done", output_index=1, item=reply.output[1])
        yield self._completed(reply)
