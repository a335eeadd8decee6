"""Formats of OpenAI's event streams: partial images, texts in pieces, the usage at the end.

An error ends a stream as `{"error": {…}}`, which the SDK raises. Streams of text end with `[DONE]`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any

from sse_starlette import ServerSentEvent

from app.errors import ApiError
from app.openai.image_mapping import IMAGE_NAMES
from app.openai.rendering import ImageRenderer, Rendering
from app.openai.replies import (
    ChunkChoice,
    CompletedImageEvent,
    CompletionChoice,
    PartialImageEvent,
    TextChunk,
    TextUsage,
    images_usage,
    result_warnings,
    text_usage,
)
from app.openai.schemas import CompletionBody, TextBody
from app.openai.text_mapping import CHAT_NAMES, ReplyHead, choices_of, echoed
from app.sse import sse
from app.tasks.base import base64_text
from jobs.contract.events import Event, PartialImage, PartialText
from jobs.contract.results import FinishReason, ImagesResult, Result, Usage
from jobs.contract.status import JobStatus

TextChoice = ChunkChoice | CompletionChoice


class ImageEvents:
    """Events of an image route. `kind` is image_generation or image_edit."""

    def __init__(self, kind: str, rendering: Rendering, renderer: ImageRenderer) -> None:
        self._kind = kind
        self._rendering = rendering
        self._renderer = renderer

    def start(self) -> Iterable[ServerSentEvent]:
        return ()

    async def event(self, event: Event) -> AsyncIterable[ServerSentEvent]:
        match event.body:
            case PartialImage(index=index, partial_index=partial_index, data=data):
                image = PartialImageEvent(
                    **await self._fields("partial_image", data),
                    partial_image_index=partial_index,
                    image_index=index,
                )
                yield sse(image.type, image)
            case _:
                pass

    async def result(self, status: JobStatus, result: Result) -> AsyncIterable[ServerSentEvent]:
        assert isinstance(result, ImagesResult)
        for index, image in enumerate(result.images):
            # The last event has the usage and warnings of all images, so that a client may add up the events.
            is_last = index == len(result.images) - 1
            completed = CompletedImageEvent(
                **await self._fields("completed", image.data),
                usage=images_usage(result.usage if is_last else Usage()),
                image_index=index,
                warnings=result_warnings(result, IMAGE_NAMES.of) if is_last else [],
            )
            yield sse(completed.type, completed)

    def error(self, error: ApiError) -> ServerSentEvent:
        return sse("error", error.reply())

    async def _fields(self, name: str, data: bytes) -> dict[str, Any]:
        return {
            "type": f"{self._kind}.{name}",
            "b64_json": base64_text(await self._renderer.render(data, self._rendering)),
            "created_at": int(time.time()),
            "size": self._rendering.size,
            "output_format": self._rendering.format,
        }


class _TextEvents(ABC):
    """Texts in pieces, as far as the candidates are the choices; what is left of each at the end."""

    def __init__(self, job_id: str, head: ReplyHead, body: TextBody) -> None:
        self._head: dict[str, Any] = {
            "id": job_id,
            "created": int(time.time()),
            "model": head.model,
            "system_fingerprint": head.system_fingerprint,
        }
        self._warnings = list(head.warnings)
        self._with_usage = body.streams_usage
        self._pieces = [TextPieces(body.stop or ()) for _ in range(body.num_choices)]

    @abstractmethod
    def start(self) -> Iterable[ServerSentEvent]: ...

    @abstractmethod
    def piece(self, index: int, text: str) -> TextChoice: ...

    @abstractmethod
    def end(self, index: int, text: str, reason: FinishReason) -> Sequence[TextChoice]: ...

    @abstractmethod
    def text_of(self, event: PartialText) -> str: ...

    async def event(self, event: Event) -> AsyncIterable[ServerSentEvent]:
        match event.body:
            case PartialText(index=index) as partial if index < len(self._pieces):
                if piece := self._pieces[index].grown(self.text_of(partial)):
                    yield self._chunk([self.piece(index, piece)])
            case _:
                pass

    async def result(self, status: JobStatus, result: Result) -> AsyncIterable[ServerSentEvent]:
        choices = choices_of(result, continued=isinstance(self, CompletionEvents))
        self._warnings += result_warnings(result, CHAT_NAMES.of)
        for index, choice in enumerate(choices):
            rest = self._pieces[index].rest(choice.text)
            for part in self.end(index, rest, choice.finish_reason):
                yield self._chunk([part])
        if self._with_usage:
            num_tokens = sum(choice.num_tokens for choice in choices)
            yield self._chunk([], usage=text_usage(result.usage.input_tokens, num_tokens))
        yield ServerSentEvent("[DONE]", sep="\n")

    def error(self, error: ApiError) -> ServerSentEvent:
        return sse("error", error.reply())

    def _chunk(self, choices: Sequence[TextChoice], usage: TextUsage | None = None) -> ServerSentEvent:
        kind = "text_completion" if isinstance(self, CompletionEvents) else "chat.completion.chunk"
        warnings, self._warnings = self._warnings, []  # the first chunk has them
        chunk = TextChunk.model_validate(
            {**self._head, "object": kind, "choices": choices, "usage": usage, "warnings": warnings}
        )
        return sse(None, chunk)


class ChatEvents(_TextEvents):
    def start(self) -> Iterable[ServerSentEvent]:
        delta = {"role": "assistant", "content": ""}
        yield self._chunk([ChunkChoice(index=index, delta=delta) for index in range(len(self._pieces))])

    def piece(self, index: int, text: str) -> ChunkChoice:
        return ChunkChoice(index=index, delta={"content": text})

    def end(self, index: int, text: str, reason: FinishReason) -> Sequence[TextChoice]:
        rest = [self.piece(index, text)] if text else []
        return [*rest, ChunkChoice(index=index, delta={}, finish_reason=reason)]

    def text_of(self, event: PartialText) -> str:
        return event.text


class CompletionEvents(_TextEvents):
    def __init__(self, job_id: str, head: ReplyHead, body: CompletionBody) -> None:
        super().__init__(job_id, head, body)
        self._echo = echoed(body, body.prompt[0])

    def start(self) -> Iterable[ServerSentEvent]:
        if self._echo:
            yield self._chunk([self.piece(index, self._echo) for index in range(len(self._pieces))])

    def piece(self, index: int, text: str) -> CompletionChoice:
        return CompletionChoice(index=index, text=text, finish_reason=None)

    def end(self, index: int, text: str, reason: FinishReason) -> Sequence[TextChoice]:
        return [CompletionChoice(index=index, text=text, finish_reason=reason)]

    def text_of(self, event: PartialText) -> str:
        return event.continuation


class TextPieces:
    """Cuts a growing text into pieces.

    Holds the last word back, because it may still change, and what may be the beginning of a stop sequence.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._sent = ""
        self._stop = stop

    def grown(self, text: str) -> str:
        """Return the next piece; empty when there is none, or when an earlier piece has changed."""
        text = self._before_stop(text)
        settled = text[: max(text.rfind(" "), 0)]
        if len(settled) <= len(self._sent) or not settled.startswith(self._sent):
            return ""
        piece, self._sent = settled[len(self._sent) :], settled
        return piece

    def rest(self, text: str) -> str:
        """Return what is left of the final text."""
        return text.removeprefix(self._sent)

    def _before_stop(self, text: str) -> str:
        found = [index for word in self._stop if (index := text.find(word)) >= 0]
        if found:
            return text[: min(found)]
        longest = max(
            (
                size
                for word in self._stop
                for size in range(1, min(len(word), len(text) + 1))
                if text.endswith(word[:size])
            ),
            default=0,
        )
        return text[: len(text) - longest]
