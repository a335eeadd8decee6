"""The format of server-sent events, and the events of a native stream.

A native stream has `state`, `progress`, `partial_image` and `partial_text`, with the ids of the queue. It
ends with one `completed`, which has the full reply, or one `error`, which has the full error.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import Annotated, Protocol

import anyio
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from app.errors import ApiError, ClientGone
from app.replies import ProgressReply, StateName, task_reply
from app.tasks.base import Base64, Reply
from jobs.contract import events
from jobs.contract.events import Event, EventBody
from jobs.contract.results import Result
from jobs.contract.status import JobStatus

END_OF_STREAM = "-end"
"""Added to the id of the last event, so that a client that has seen it is recognised."""
FIRST_ID = "0-0"
"""Before every event."""


class EventFormat(Protocol):
    """Converts the events of a job into the events of a stream. `app.follow` adds their ids."""

    def start(self) -> Iterable[ServerSentEvent]:
        """Return the events that the stream sends before the first event of the job."""
        ...

    def event(self, event: Event) -> AsyncIterable[ServerSentEvent]:
        """Yield the events for one event of the job."""
        ...

    def result(self, status: JobStatus, result: Result) -> AsyncIterable[ServerSentEvent]:
        """Yield the last events of a job that has succeeded."""
        ...

    def error(self, error: ApiError) -> ServerSentEvent:
        """Return the last event of a stream that fails."""
        ...


CandidateIndex = Annotated[int, Field(description="Index of the candidate, from 0.")]


class PartialImage(Reply):
    """Data of `partial_image`."""

    index: CandidateIndex
    partial_image_index: int = Field(
        validation_alias="partial_index", description="Index of this image among the partial ones, from 0."
    )
    b64_json: Base64 = Field(
        validation_alias="data", description="The image file as base64: finished rows, the rest grey."
    )


class PartialText(Reply):
    """Data of `partial_text`."""

    index: CandidateIndex
    text: str = Field(description="The whole text so far; a later one may change its last word.")


class JobStateChange(Reply):
    """Data of `state`."""

    state: StateName
    reason: str | None = Field(description="Why it has changed, such as the code of an error; else null.")


_EVENTS: Mapping[type[EventBody], tuple[str, type[Reply]]] = {
    events.Progress: ("progress", ProgressReply),
    events.PartialImage: ("partial_image", PartialImage),
    events.PartialText: ("partial_text", PartialText),
    events.StateChanged: ("state", JobStateChange),
}
NATIVE_DATA = tuple(model for _, model in _EVENTS.values())
"""Models of the data of native events, without those of the last one."""


class NativeEvents:
    """The native format."""

    def start(self) -> Iterable[ServerSentEvent]:
        return ()

    async def event(self, event: Event) -> AsyncIterable[ServerSentEvent]:
        name, model = _EVENTS[type(event.body)]
        yield sse(name, model.model_validate(event.body))

    async def result(self, status: JobStatus, result: Result) -> AsyncIterable[ServerSentEvent]:
        yield sse("completed", task_reply(status, result))

    def error(self, error: ApiError) -> ServerSentEvent:
        return sse("error", error.reply())


def sse(name: str | None, data: BaseModel) -> ServerSentEvent:
    return ServerSentEvent(data.model_dump_json(by_alias=True), event=name, sep="\n")


class Comment(ServerSentEvent):
    """A comment without a blank line after it, of which some clients would make an empty event."""

    def __init__(self, text: str) -> None:
        super().__init__(comment=text, sep="\n")

    def encode(self) -> bytes:
        return f": {self.comment}\n".encode()


class EventStream(EventSourceResponse):
    """An event stream that calls `on_close` however it ends, even before it starts.

    Raises ClientGone when the client reads nothing for `send_timeout_s`.
    """

    def __init__(
        self,
        content: AsyncIterator[ServerSentEvent],
        *,
        keep_alive_s: float,
        send_timeout_s: float,
        on_close: Callable[[], None],
        shutdown_grace_s: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            content,
            headers=headers,
            ping=keep_alive_s,
            ping_message_factory=lambda: Comment("keep-alive"),
            send_timeout=send_timeout_s,
            sep="\n",
            shutdown_event=anyio.Event() if shutdown_grace_s else None,
            shutdown_grace_period=shutdown_grace_s,
        )
        # Whether the connection stays open is the server's decision, and another one in HTTP/1.0.
        del self.headers["connection"]
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client_reads = True
        try:
            await super().__call__(scope, receive, send)
        # A group, because an event and a keep-alive comment may both have timed out.
        except* SendTimeoutError:
            client_reads = False
        finally:
            self._on_close()
        if not client_reads:
            raise ClientGone
