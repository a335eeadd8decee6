"""Follows a job on behalf of a client: waits for its result, or streams its events.

Every failure becomes an ApiError by the one table of `app.errors`. A waiting request raises it; a stream ends
with it as an event.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import ExitStack, aclosing, contextmanager, suppress
from dataclasses import dataclass

from sse_starlette import ServerSentEvent
from starlette.requests import Request

from app.errors import ClientGone, api_error_of, deadline_passed, from_failure, internal_error
from app.field_errors import OWN_NAMES, FieldNames
from app.queue_notes import with_queue_notes
from app.services import Services
from app.sse import END_OF_STREAM, FIRST_ID, Comment, EventFormat, EventStream, NativeEvents
from jobs.client.client import JobClient
from jobs.contract.errors import QueueError
from jobs.contract.events import Event
from jobs.contract.results import JobFailure, Outcome, Result
from jobs.contract.status import JobStatus
from telemetry.logging import get_logger

QUEUE_NOTE_S = 5.0
"""Seconds between two comments about the place in the queue, or less if the connection needs them sooner."""


@dataclass(frozen=True)
class Submitted:
    """A job that the queue has accepted, and how the client waits for it."""

    id: str
    created: bool
    """False: an idempotency key led to a job that existed before."""
    grace_s: float
    """Seconds that the job continues without a waiting client."""
    deadline_s: float
    seed: int
    names: FieldNames = OWN_NAMES


class EventSubscription:
    """A slot for an event stream, and the events of the job that is about to be submitted."""

    def __init__(self, client: JobClient, stack: ExitStack) -> None:
        self._client = client
        self._stack = stack
        self._job_id: str | None = None
        self._events: AsyncGenerator[Event] | None = None

    def subscribe(self, job_id: str) -> None:
        """Subscribe to a job's events. Call it before the job is submitted, so that none is missed."""
        self._events = self._stack.enter_context(self._client.subscribe(job_id))
        self._job_id = job_id

    def events(self, job_id: str) -> AsyncGenerator[Event]:
        """Yield all events of the subscribed job; of a job that existed before, those from now on."""
        if self._events is not None and job_id == self._job_id:
            return self._events
        return self._client.events(job_id)

    def close(self) -> None:
        self._stack.close()


@contextmanager
def event_subscription(services: Services, tenant: str) -> Generator[EventSubscription]:
    """Yield a subscription, which the stream closes after the block. If the block raises, it is closed here.

    Raises ApiError 429 or 503 when too many streams are open, before the job is submitted.
    """
    services.streams.acquire(tenant)
    stack = ExitStack()
    stack.callback(services.streams.release, tenant)
    try:
        yield EventSubscription(services.client, stack)
    except BaseException:
        stack.close()
        raise


async def wait_for_result(
    request: Request, services: Services, submitted: Submitted
) -> tuple[JobStatus, Result]:
    """Wait for the job while the client is connected.

    Raises ApiError for a job without a result and 504 after the deadline; ClientGone.
    """
    client, job_id, owns = services.client, submitted.id, submitted.created
    disconnect = asyncio.create_task(_disconnected(request))
    while_connected = asyncio.timeout(None)

    def leave(_: asyncio.Task[None]) -> None:
        with suppress(RuntimeError):  # the wait is already over
            while_connected.reschedule(0.0)

    try:
        async with (
            services.waiters.track(client, job_id, owns=owns, grace_s=submitted.grace_s),
            while_connected,
        ):
            disconnect.add_done_callback(leave)
            status, outcome = await client.final_report(job_id, submitted.deadline_s, is_new=owns)
    except TimeoutError:
        raise (ClientGone() if disconnect.done() else deadline_passed(submitted.deadline_s)) from None
    finally:
        disconnect.cancel()
    return status, _result(outcome, submitted.names)


def stream_own_job(
    services: Services,
    submitted: Submitted,
    subscription: EventSubscription,
    events: EventFormat,
    headers: Mapping[str, str] | None = None,
    *,
    after: str | None = None,
) -> EventStream:
    """Return the job's events as the reply of its own request. The job is cancelled if the client leaves.

    `after`: the last event that the client has received of a job that existed before.
    """
    settings = services.settings
    return EventStream(
        _own_job_events(services, submitted, subscription, events, after),
        keep_alive_s=settings.event_keep_alive_s,
        send_timeout_s=settings.write_timeout_s,
        on_close=subscription.close,
        shutdown_grace_s=settings.shutdown_grace_s,
        headers={"x-job-id": submitted.id, **(headers or {})},
    )


def stream_job(services: Services, tenant: str, job_id: str, after: str | None) -> EventStream:
    """Return the job's events from the event `after` on. The job does not depend on this client."""
    services.streams.acquire(tenant)
    source = services.client.events(job_id, after and _job_event_id(after))
    return EventStream(
        _job_events(services, job_id, source, NativeEvents()),
        keep_alive_s=services.settings.event_keep_alive_s,
        send_timeout_s=services.settings.write_timeout_s,
        on_close=lambda: services.streams.release(tenant),
    )


async def _own_job_events(
    services: Services,
    submitted: Submitted,
    subscription: EventSubscription,
    events: EventFormat,
    after: str | None,
) -> AsyncGenerator[ServerSentEvent]:
    client, job_id, owns = services.client, submitted.id, submitted.created
    resumed = after is not None and not owns
    jobs_events = client.events(job_id, FIRST_ID) if resumed else subscription.events(job_id)
    source = _job_events(
        services, job_id, jobs_events, events, submitted.names, seen=after if resumed else None
    )
    ends_at = time.monotonic() + submitted.deadline_s
    async with (
        services.waiters.track(client, job_id, owns=owns, grace_s=submitted.grace_s),
        aclosing(source),
    ):
        while True:
            try:
                # Not `wait_for`: its task could still run the source while this one closes it.
                async with asyncio.timeout(max(ends_at - time.monotonic(), 0)):
                    event = await anext(source)
            except StopAsyncIteration:
                return
            except TimeoutError:
                break
            yield event
        if owns:
            with suppress(QueueError):
                await client.cancel(job_id)
        yield events.error(deadline_passed(submitted.deadline_s))


async def _job_events(
    services: Services,
    job_id: str,
    source: AsyncIterator[Event],
    events: EventFormat,
    names: FieldNames = OWN_NAMES,
    *,
    seen: str | None = None,
) -> AsyncGenerator[ServerSentEvent]:
    """Yield the formatted events of `source`, then the result or an error. Raises no Exception.

    An event has the id of the job's event that led to it. Those of the result add their number, and the last
    one adds `-end`. `seen`: the client has had the events up to this id; they are read again, because later
    ones depend on them.
    """
    client, last_id, has_ended = services.client, _job_event_id(seen or FIRST_ID), False
    seen_order = _order(seen or FIRST_ID)
    try:
        for event in events.start():
            if seen is None:
                yield event
        async with aclosing(
            with_queue_notes(client, job_id, source, min(services.settings.event_keep_alive_s, QUEUE_NOTE_S))
        ) as noted:
            async for job_event in noted:
                if isinstance(job_event, Comment):
                    yield job_event
                    continue
                last_id = job_event.id
                async for event in events.event(job_event):
                    event.id = last_id
                    if _order(last_id) > seen_order:
                        yield event
        status, outcome = await client.report(job_id)
        has_ended = outcome is not None
        final = [event async for event in events.result(status, _result(outcome, names))]
        for number, event in enumerate(final, start=1):
            is_last = number == len(final)
            event.id = last_id + (END_OF_STREAM if is_last else f"-{number}")
            if is_last or _order(event.id) > seen_order:
                yield event
    except Exception as error:
        refusal = api_error_of(error)
        if refusal is not error and not isinstance(error, QueueError):
            get_logger("app.follow").exception("stream_failed", job_id=job_id)
        event = events.error(refusal)
        event.id = last_id + (END_OF_STREAM if has_ended else "")
        yield event


def _job_event_id(event_id: str) -> str:
    """Return the id of the job's event that led to an event of a stream."""
    return "-".join(event_id.split("-")[:2])


def _order(event_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in event_id.removesuffix(END_OF_STREAM).split("-"))


def _result(outcome: Outcome | None, names: FieldNames) -> Result:
    if outcome is None:
        raise internal_error()
    if isinstance(outcome, JobFailure):
        raise from_failure(outcome, param=names.of(outcome.param) if outcome.param else None)
    return outcome


async def _disconnected(request: Request) -> None:
    """Return once the client has closed its connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
