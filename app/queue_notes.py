"""The place of a waiting job in the queue, as comments of its event stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from app.sse import Comment
from jobs.client.client import JobClient
from jobs.contract.errors import QueueError
from jobs.contract.events import Event, StateChanged
from jobs.contract.job import JobState
from jobs.contract.status import JobStatus


async def with_queue_notes(
    client: JobClient, job_id: str, source: AsyncIterator[Event], every_s: float
) -> AsyncGenerator[Event | Comment]:
    """Yield the events of `source` and, while the job is queued, its place every `every_s` seconds."""
    is_queued = True
    pending = asyncio.ensure_future(anext(source))
    try:
        while True:
            await asyncio.wait({pending}, timeout=every_s if is_queued else None)
            if not pending.done():
                try:
                    status = await client.status(job_id)
                except QueueError:
                    continue  # Redis is away; an event shows when the job goes on
                is_queued = status.state is JobState.QUEUED
                if is_queued and not pending.done():
                    yield Comment(await _place(client, status))
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            is_queued = isinstance(event.body, StateChanged) and event.body.state is JobState.QUEUED
            yield event
            pending = asyncio.ensure_future(anext(source))
    finally:
        pending.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
            await pending


async def _place(client: JobClient, status: JobStatus) -> str:
    """Return how many jobs are ahead, and the time that they take at the mean speed of the queue."""
    position = status.position or 0
    note = f"queued, {position} ahead"
    with suppress(QueueError):
        seconds = (await client.stats()).start_in_s(position)
        if seconds is not None:
            note += f", about {max(round(seconds), 1)} s"
    return note
