"""Events of one job that a subscriber has not read yet."""

import asyncio
from collections import deque
from typing import Final

from jobs.contract.events import Event, PartialImage, PartialText, StateChanged

_MAX_EVENTS: Final = 256
_MAX_BYTES: Final = 1 << 20


class Inbox:
    """A queue bounded by number and by bytes. When it is full, the oldest event is dropped."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._num_bytes = 0
        self.ended = False
        """The job is in a terminal state or was deleted, without an event."""
        self._has_news = asyncio.Event()
        self._may_have_ended = asyncio.Event()

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._num_bytes += _num_bytes(event)
        while len(self._events) > _MAX_EVENTS or (self._num_bytes > _MAX_BYTES and len(self._events) > 1):
            self.take()
        self._has_news.set()
        if is_end(event):
            self._may_have_ended.set()

    def take(self) -> Event | None:
        """Remove and return the oldest event; None if there is none."""
        if not self._events:
            return None
        event = self._events.popleft()
        self._num_bytes -= _num_bytes(event)
        return event

    def check_now(self) -> None:
        """Wake `wait_for_end`: the job may have ended already."""
        self._may_have_ended.set()

    def end(self) -> None:
        """Mark the job as ended, and wake all waiters."""
        self.ended = True
        self._may_have_ended.set()
        self._has_news.set()

    async def wait_for_end(self) -> None:
        """Return when the job may have ended. The caller checks, and waits again if it has not."""
        await self._may_have_ended.wait()
        self._may_have_ended.clear()

    async def wait_for_news(self) -> None:
        """Return when an event arrived or the job ended."""
        await self._has_news.wait()
        self._has_news.clear()


def is_end(event: Event) -> bool:
    """Whether the event is a terminal state, which is the last event of a job."""
    return isinstance(event.body, StateChanged) and event.body.state.is_terminal


def _num_bytes(event: Event) -> int:
    """Bytes of the event's content; 0 where they are few."""
    match event.body:
        case PartialImage(data=data):
            return len(data)
        case PartialText(text=text):
            return len(text)
        case _:
            return 0
