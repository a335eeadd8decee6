"""One reader of the event stream for all waiting requests of a process.

It keeps a short history, so that an interrupted stream can continue, and puts every event into the inboxes of
the job's subscribers. Events may be lost: every second the states of all subscribed jobs are queried in bulk,
so no subscriber depends on an event.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import RedisError

from jobs.client.inbox import Inbox, is_end
from jobs.contract import codec
from jobs.contract.errors import DataLost, QueueError, QueueUnavailable
from jobs.contract.events import Event, StateChanged
from jobs.contract.job import JobState
from jobs.contract.status import JobStatus
from jobs.redis import connection, keys, scripts
from jobs.redis.causes import describe_error
from jobs.redis.pinned import PinnedConnections
from jobs.redis.redis_errors import ErrorClass, classify_error
from jobs.redis.transport import AsyncTransport

_BLOCK_MS: Final = 900
_SOCKET_TIMEOUT_S: Final = 5.0
_READ_COUNT: Final = 512
_LIVE_STATES: Final = (b"queued", b"running")
_POLL_S: Final = 1.0
_POLL_CHUNK: Final = 500
_MAX_HISTORY: Final = 8192
_MAX_HISTORY_EVENT_BYTES: Final = 4096
_MAX_ENDED: Final = 8192
_REAP_LIMIT: Final = 100
_PAUSE_AFTER_ERROR_S: Final = 0.2
_CLOSE_STEP_S: Final = 0.2
_log = logging.getLogger(__name__)

StatusQuery = Callable[[str], Awaitable[JobStatus]]
"""Job id → its status. Raises JobNotFound."""


class EventReader:
    """Polling starts with `start`, the reader with the first subscription; both run until `close`."""

    def __init__(
        self,
        url: str,
        queue: str,
        transport: AsyncTransport,
        *,
        lease_s: float,
        status: StatusQuery,
        unreadable: Counter[str],
    ) -> None:
        self._url = url
        self._stream = keys.events(queue)
        self._transport = transport
        self._lease_s = lease_s
        self._unreadable = unreadable
        self._reported_fault = ""
        """The fault of the stream that was logged last."""
        self._status = status
        self._inboxes: dict[str, set[Inbox]] = {}
        self._history: deque[Event] = deque(maxlen=_MAX_HISTORY)
        self._ended: dict[str, None] = {}
        """Jobs whose terminal event was read, the newest last."""
        self._last_id = "0-0"
        self._ending: set[str] = set()
        """Subscribed jobs that the last poll found ended."""
        self._tasks: list[asyncio.Task[None]] = []
        self._caught_up = asyncio.Event()
        self._client: connection.AsyncClient | None = None
        self._reading = False
        self._closing = False

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._poll_forever(), name="queue-polling"))

    async def close(self) -> None:
        self._closing = True
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # Repeated, because redis-py swallows a cancellation that arrives while a connection opens.
            _, running = await asyncio.wait(running, timeout=_CLOSE_STEP_S)
        self._tasks.clear()
        # Not in the reader's task, where a further cancellation would leave the connection open.
        if self._client is not None:
            await connection.close_async(self._client)

    @contextmanager
    def subscribe(self, job_id: str) -> Generator[Inbox]:
        """Yield an inbox that gets every event of the job from now on."""
        if not self._reading:
            self._reading = True
            self._tasks.append(asyncio.create_task(self._read_forever(), name="queue-events"))
        inbox = Inbox()
        if job_id in self._ended:
            inbox.check_now()
        self._inboxes.setdefault(job_id, set()).add(inbox)
        try:
            yield inbox
        finally:
            self._inboxes[job_id].discard(inbox)
            if not self._inboxes[job_id]:
                del self._inboxes[job_id]

    async def follow(self, job_id: str, after: str | None) -> AsyncGenerator[Event, None]:
        """Yield the events of a job; see JobClient.events. Raises JobNotFound when the job is gone."""
        with self.subscribe(job_id) as inbox:
            await self._caught_up.wait()
            last_seen = _order(after or self._last_id)
            past = [event for event in self._history if after and event.job_id == job_id]
            present = await self._present(job_id)
            for event in past:
                if _order(event.id) > last_seen:
                    last_seen = _order(event.id)
                    yield event
                    if is_end(event):
                        return
            if after is None or is_end(present):
                yield present
            if is_end(present):
                return
            async for event in self._live(job_id, inbox, last_seen):
                yield event

    async def follow_inbox(self, job_id: str, inbox: Inbox) -> AsyncGenerator[Event, None]:
        """Yield the events of a job from an inbox that was subscribed before the job was submitted."""
        # A slow submission can leave an inbox that a poll has ended, because the job did not exist yet.
        source = self.follow(job_id, None) if inbox.ended else self._live(job_id, inbox, (0, 0))
        async for event in source:
            yield event

    async def _live(
        self, job_id: str, inbox: Inbox, last_seen: tuple[int, int]
    ) -> AsyncGenerator[Event, None]:
        while True:
            while (event := inbox.take()) is not None:
                if _order(event.id) > last_seen:
                    last_seen = _order(event.id)
                    yield event
                    if is_end(event):
                        return
            if inbox.ended:
                inbox.ended = False
                present = await self._present_after_failover(job_id)
                yield present
                if is_end(present):
                    return
            await inbox.wait_for_news()

    async def _present(self, job_id: str) -> Event:
        """Return the job's present state as an event."""
        last_id = self._last_id
        status = await self._status(job_id)
        reason = status.failure.code if status.failure else None
        return Event(last_id, job_id, status.attempt, StateChanged(status.state, reason))

    async def _present_after_failover(self, job_id: str) -> Event:
        """As `_present`, but wait while Redis is away or may have to get the job again."""
        while True:
            try:
                return await self._present(job_id)
            except DataLost:
                raise
            except QueueUnavailable:
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async def _read_forever(self) -> None:
        client = self._client = connection.open_async(
            self._url, timeout_s=_SOCKET_TIMEOUT_S, max_connections=1
        )
        connections = PinnedConnections(client, self._stream)
        while not self._closing:
            try:
                async with connections.acquire() as wire:
                    await self._rewind_if_shortened(wire)
                    while not self._closing and self._transport.is_current(wire):
                        await self._read_once(wire)
            except (RedisError, OSError) as error:
                self._report_fault(error)
                self._caught_up.set()  # do not make streams wait for a history while Redis is away
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            except Exception:  # a reader that stops would leave every waiting request to the polling
                _log.exception("The event stream cannot be read; reading it again.")
                self._caught_up.set()
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    def _report_fault(self, error: Exception) -> None:
        """Log a fault once. An unreachable server is reported by the calls of the requests."""
        fault = describe_error(error)
        if classify_error(error) is not ErrorClass.RETRYABLE and fault != self._reported_fault:
            self._reported_fault = fault
            self._unreadable["event"] += 1
            _log.error(
                "The event stream cannot be read; clients find the state of jobs by polling. %s", fault
            )

    async def _rewind_if_shortened(self, wire: Any) -> None:
        """Start again at the end of the stream if a failover has shortened it."""
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
            try:
                self._distribute(self._last_id, fields)
            except Exception as error:  # one damaged entry must not keep the others from their readers
                # Its job is found by the polling. Entries of a newer release end here as well.
                self._unreadable["event"] += 1
                _log.warning("Event %s cannot be read: %s: %s", self._last_id, type(error).__name__, error)
        if len(entries) < _READ_COUNT:
            self._caught_up.set()

    def _distribute(self, event_id: str, pairs: Sequence[bytes]) -> None:
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        job_id = fields[b"j"].decode()
        inboxes = self._inboxes.get(job_id, ())
        data = fields.get(b"b", b"")
        is_large = len(data) > _MAX_HISTORY_EVENT_BYTES
        if is_large and not inboxes:
            return
        body = codec.decode_event_body(data) if data else _state_of(fields)
        event = Event(event_id, job_id, int(fields[b"a"]), body)
        if not is_large:
            self._history.append(event)
        self._ended.pop(job_id, None)  # a dead letter may be queued again
        if is_end(event):
            self._ended[job_id] = None
            if len(self._ended) > _MAX_ENDED:
                del self._ended[next(iter(self._ended))]
        for inbox in inboxes:
            inbox.put(event)

    async def _poll_forever(self) -> None:
        while not self._closing:
            await asyncio.sleep(_POLL_S)
            try:
                await self._poll()
                reap = scripts.reap(limit=_REAP_LIMIT, grace_s=self._lease_s)
                await self._transport.run(reap, retry_for_s=0.0)
            except DataLost:
                self._end_all()  # no event of these jobs will arrive
            except QueueError:
                continue
            except Exception:  # polling that stops would leave waiting requests to the events alone
                _log.exception("The states of jobs cannot be polled; polling them again.")

    def _end_all(self) -> None:
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.end()

    async def _poll(self) -> None:
        subscribed = list(self._inboxes)
        ending: set[str] = set()
        for start in range(0, len(subscribed), _POLL_CHUNK):
            chunk = subscribed[start : start + _POLL_CHUNK]
            states = await self._transport.run(scripts.states(job_ids=chunk), retry_for_s=0.0)
            ending |= {
                job_id for job_id, state in zip(chunk, states, strict=True) if state not in _LIVE_STATES
            }
        # Only jobs that two polls in a row found ended, so that events under way arrive before the end.
        for job_id in ending & self._ending:
            for inbox in self._inboxes.get(job_id, ()):
                inbox.end()
        self._ending = ending


def _order(event_id: str) -> tuple[int, int]:
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number or 0)


def _state_of(fields: dict[bytes, bytes]) -> StateChanged:
    return StateChanged(JobState(fields[b"s"].decode()), fields[b"r"].decode() or None)
