"""One reader of the event stream for all waiting requests of a process.

It keeps a short history, so that a stream that was cut off can go on where it stopped, and hands every event
to those who watch its job. Events only hurry things up: every second or so the states of all watched jobs
are asked for in bulk, so that nobody waits for an event that was trimmed or never came.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import RedisError

from jobs import codec, connection, keys
from jobs.errors import CodecError, DataLost, JobNotFound, QueueError
from jobs.events import Event, PartialImage, PartialText, StateChanged
from jobs.job import JobState
from jobs.link import AsyncLink
from jobs.records import status_of

_BLOCK_MS: Final = 900
_SOCKET_TIMEOUT_S: Final = 5.0
_READ_COUNT: Final = 512
_LIVE_STATES: Final = (b"queued", b"running")
_POLL_S: Final = 1.0
_POLL_CHUNK: Final = 500
_MAX_HISTORY: Final = 8192
_MAX_HISTORY_EVENT_BYTES: Final = 4096
_MAX_ENDED: Final = 8192
_INBOX_SIZE: Final = 256
_INBOX_BYTES: Final = 1 << 20
_REAP_LIMIT: Final = 100
_PAUSE_AFTER_ERROR_S: Final = 0.2
_PATIENCE_S: Final = 3.0
_CLOSE_STEP_S: Final = 0.2


class Inbox:
    """What one watcher of a job has not read yet; the oldest goes when it is full, by number or by bytes."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._num_bytes = 0
        self.ended = False
        self._news = asyncio.Event()
        self._end = asyncio.Event()

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._num_bytes += _weight(event)
        while len(self._events) > _INBOX_SIZE or (self._num_bytes > _INBOX_BYTES and len(self._events) > 1):
            self.take()
        self._news.set()
        if _is_end(event):
            self._end.set()

    def take(self) -> Event | None:
        """The oldest event, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        self._num_bytes -= _weight(event)
        return event

    def look(self) -> None:
        """The job may have ended already."""
        self._end.set()

    def end(self) -> None:
        """The job is in a terminal state, or gone, whatever the stream said."""
        self.ended = True
        self._end.set()
        self._news.set()

    async def wait_for_end(self) -> None:
        await self._end.wait()
        self._end.clear()

    async def wait_for_news(self) -> None:
        await self._news.wait()
        self._news.clear()


class Watcher:
    """Housekeeping starts with `start`, the reader with its first watcher; both live until `close`."""

    def __init__(self, url: str, queue: str, link: AsyncLink, *, lease_s: float) -> None:
        self._url = url
        self._stream = keys.events(queue)
        self._link = link
        self._lease_s = lease_s
        self._inboxes: dict[str, set[Inbox]] = {}
        self._history: deque[Event] = deque(maxlen=_MAX_HISTORY)
        self._ended: dict[str, None] = {}
        """Jobs whose end the stream has told, the newest last."""
        self._last_id = "0-0"
        self._ending: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._caught_up = asyncio.Event()
        self._client: connection.AsyncClient | None = None
        self._reading = False
        self._closing = False

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._keep_house(), name="queue-housekeeping"))

    async def close(self) -> None:
        self._closing = True
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # More than once, because a cancellation that meets a finishing connect is swallowed there.
            _, running = await asyncio.wait(running, timeout=_CLOSE_STEP_S)
        self._tasks.clear()
        # Not in the reader, where the next cancellation would leave its connection open.
        if self._client is not None:
            await connection.close_async(self._client)

    @contextmanager
    def watch(self, job_id: str) -> Generator[Inbox]:
        if not self._reading:
            self._reading = True
            self._tasks.append(asyncio.create_task(self._read(), name="queue-events"))
        inbox = Inbox()
        if job_id in self._ended:
            inbox.look()
        self._inboxes.setdefault(job_id, set()).add(inbox)
        try:
            yield inbox
        finally:
            self._inboxes[job_id].discard(inbox)
            if not self._inboxes[job_id]:
                del self._inboxes[job_id]

    async def follow(self, job_id: str, after: str | None) -> AsyncGenerator[Event, None]:
        """See JobClient.events. Raises JobNotFound when the job is gone."""
        with self.watch(job_id) as inbox:
            await self._caught_up.wait()
            seen = _order(after or self._last_id)
            past = [event for event in self._history if after and event.job_id == job_id]
            present = await self._present(job_id)
            for event in past:
                if _order(event.id) > seen:
                    seen = _order(event.id)
                    yield event
                    if _is_end(event):
                        return
            if after is None or _is_end(present):
                yield present
            if _is_end(present):
                return
            async for event in self._live(job_id, inbox, seen):
                yield event

    async def hear(self, job_id: str, inbox: Inbox) -> AsyncGenerator[Event, None]:
        """Everything that comes into an inbox that was there before the job."""
        # A submission that took long leaves an inbox whose job was given up as unknown.
        source = self.follow(job_id, None) if inbox.ended else self._live(job_id, inbox, (0, 0))
        async for event in source:
            yield event

    async def _live(self, job_id: str, inbox: Inbox, seen: tuple[int, int]) -> AsyncGenerator[Event, None]:
        while True:
            while (event := inbox.take()) is not None:
                if _order(event.id) > seen:
                    seen = _order(event.id)
                    yield event
                    if _is_end(event):
                        return
            if inbox.ended:
                yield await self._present(job_id)
                return
            await inbox.wait_for_news()

    async def _present(self, job_id: str) -> Event:
        at = self._last_id
        record = await self._link.run("status", job_id, patience_s=_PATIENCE_S)
        if record is None:
            raise JobNotFound(f"no job {job_id}")
        status = status_of(job_id, record)
        reason = status.failure.code if status.failure else None
        return Event(at, job_id, status.attempt, StateChanged(status.state, reason))

    async def _read(self) -> None:
        client = self._client = connection.open_async(
            self._url, timeout_s=_SOCKET_TIMEOUT_S, max_connections=1
        )
        wires = connection.Wires(client, self._stream)
        while not self._closing:
            try:
                async with wires.borrow() as wire:
                    await self._rewind_if_shortened(wire)
                    while not self._closing:
                        await self._read_once(wire)
            except (RedisError, OSError):
                self._caught_up.set()  # nobody waits for history while the server is away
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async def _rewind_if_shortened(self, wire: Any) -> None:
        """After a failover the stream may end before what we have read."""
        await wire.send_command("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        newest = await wire.read_response()
        newest_id = newest[0][0].decode() if newest else "0-0"
        if _order(newest_id) < _order(self._last_id):
            self._last_id = newest_id

    async def _read_once(self, wire: Any) -> None:
        block = ("BLOCK", _BLOCK_MS) if self._caught_up.is_set() else ()
        await wire.send_command("XREAD", "COUNT", _READ_COUNT, *block, "STREAMS", self._stream, self._last_id)
        reply = await wire.read_response()
        entries = reply[0][1] if reply else []
        for entry_id, fields in entries:
            self._last_id = entry_id.decode()
            self._tell(self._last_id, dict(zip(fields[::2], fields[1::2], strict=True)))
        if len(entries) < _READ_COUNT:
            self._caught_up.set()

    def _tell(self, event_id: str, fields: dict[bytes, bytes]) -> None:
        job_id = fields[b"j"].decode()
        inboxes = self._inboxes.get(job_id, ())
        data = fields.get(b"b", b"")
        if not inboxes and len(data) > _MAX_HISTORY_EVENT_BYTES:
            return
        try:
            body = codec.decode_event_body(data) if data else _state_of(fields)
        except (CodecError, ValueError, KeyError):
            return  # from a newer release; the polling tells the end
        event = Event(event_id, job_id, int(fields[b"a"]), body)
        if len(data) <= _MAX_HISTORY_EVENT_BYTES:
            self._history.append(event)
        self._ended.pop(job_id, None)  # a dead job may live again
        if _is_end(event):
            self._ended[job_id] = None
            if len(self._ended) > _MAX_ENDED:
                del self._ended[next(iter(self._ended))]
        for inbox in inboxes:
            inbox.put(event)

    async def _keep_house(self) -> None:
        while not self._closing:
            await asyncio.sleep(_POLL_S)
            try:
                await self._poll()
                await self._link.run("reap", _REAP_LIMIT, self._lease_s, patience_s=0.0)
            except DataLost:
                self._end_all()  # nothing they wait for will ever come
            except QueueError:
                continue

    def _end_all(self) -> None:
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.end()

    async def _poll(self) -> None:
        watched = list(self._inboxes)
        ending: set[str] = set()
        for start in range(0, len(watched), _POLL_CHUNK):
            chunk = watched[start : start + _POLL_CHUNK]
            states = await self._link.run("states", *chunk, patience_s=0.0)
            ending |= {
                job_id for job_id, state in zip(chunk, states, strict=True) if state not in _LIVE_STATES
            }
        # Twice in a row, so that events which are on their way are told before the end.
        for job_id in ending & self._ending:
            for inbox in self._inboxes.get(job_id, ()):
                inbox.end()
        self._ending = ending


def _order(event_id: str) -> tuple[int, int]:
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number or 0)


def _weight(event: Event) -> int:
    """Bytes that an unread event keeps, where they matter."""
    match event.body:
        case PartialImage(data=data):
            return len(data)
        case PartialText(text=text):
            return len(text)
        case _:
            return 0


def _is_end(event: Event) -> bool:
    return isinstance(event.body, StateChanged) and event.body.state.is_terminal


def _state_of(fields: dict[bytes, bytes]) -> StateChanged:
    return StateChanged(JobState(fields[b"s"].decode()), fields[b"r"].decode() or None)
