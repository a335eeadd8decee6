"""Events of a job as server-sent events: ids of the queue, comments that keep the line alive, always a last
event.

The stream of a job: `state`, `progress`, `partial_image`, `partial_text`, and at the end exactly one of
`completed` (the whole reply) or `error` (the whole error). A reader that comes back sends Last-Event-ID and
misses nothing.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import anyio
import msgspec
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from app.errors import ApiError, ClientGone, from_failure, from_queue_error, internal_error, invalid
from app.replies import base64_text, task_reply
from jobs.client import JobClient
from jobs.errors import QueueError
from jobs.events import Event, PartialImage, PartialText, Progress, StateChanged
from jobs.results import JobFailure
from telemetry.logging import get_logger

_EVENT_ID = re.compile(r"\d{1,20}-\d{1,20}")


class EventStream(EventSourceResponse):
    """An event stream that gives its slot back however it ends, even before it began.

    Raises ClientGone where the reader took nothing for as long as `send_timeout_s`.
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
            send_timeout=send_timeout_s,
            sep="\n",
            shutdown_event=anyio.Event() if shutdown_grace_s else None,
            shutdown_grace_period=shutdown_grace_s,
        )
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_taken = True
        try:
            await super().__call__(scope, receive, send)
        # Events and comments that keep the line alive may both have waited.
        except* SendTimeoutError:
            is_taken = False
        finally:
            self._on_close()
        if not is_taken:
            raise ClientGone


def last_event_id(header: str | None) -> str | None:
    if header is not None and not _EVENT_ID.fullmatch(header):
        message = "Last-Event-ID must be the id of an event of this stream, such as 1700000000000-0."
        raise invalid(message, param="Last-Event-ID")
    return header


async def job_events(
    client: JobClient, job_id: str, source: AsyncIterator[Event], after: str | None = None
) -> AsyncGenerator[ServerSentEvent]:
    """The events of `source`, and the job's last word. Never raises: an error is an event too."""
    last_id: str | None = after
    try:
        async for event in source:
            last_id = event.id
            yield sse(event_name(event), event_data(event), event.id)
        yield await last_event(client, job_id, last_id)
    except ApiError as error:
        yield sse("error", error.body(), last_id)
    except QueueError as error:
        yield sse("error", from_queue_error(error).body(), last_id)
    except Exception:
        get_logger("app.sse").exception("stream_failed", job_id=job_id)
        yield sse("error", internal_error().body(), last_id)


async def last_event(client: JobClient, job_id: str, event_id: str | None) -> ServerSentEvent:
    status, outcome = await client.report(job_id)
    if outcome is None:
        raise internal_error()
    if isinstance(outcome, JobFailure):
        return sse("error", from_failure(outcome).body(), event_id)
    return sse("completed", task_reply(status, outcome), event_id)


def sse(name: str | None, data: Any, event_id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(msgspec.json.encode(data).decode(), event=name, id=event_id, sep="\n")


def event_name(event: Event) -> str:
    match event.body:
        case Progress():
            return "progress"
        case PartialImage():
            return "partial_image"
        case PartialText():
            return "partial_text"
        case StateChanged():
            return "state"


def event_data(event: Event) -> dict[str, Any]:
    match event.body:
        case Progress(phase=phase, done=done, total=total):
            return {"phase": phase, "done": done, "total": total}
        case PartialImage(index=index, partial_index=partial_index, data=data):
            return {"index": index, "partial_image_index": partial_index, "b64_json": base64_text(data)}
        case PartialText(index=index, text=text):
            return {"index": index, "text": text}
        case StateChanged(state=state, reason=reason):
            return {"state": str(state), "reason": reason}
