"""Sends scripts and carries out their retries: on blocking connections, or on those of an event loop.

Reports the time of every command that is sent. Does not know what becomes of it.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import hiredis
import redis
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.exceptions import ResponseError
from redis.sentinel import SentinelConnectionPool

from jobs.contract.errors import OutcomeUnknown, QueueUnavailable
from jobs.redis import connection, keys, scripts
from jobs.redis.causes import describe_error
from jobs.redis.pinned import PinnedConnections
from jobs.redis.redis_errors import ErrorClass, classify_error, permanent_error
from jobs.redis.retry import (
    ERRORS,
    UNCONFIRMED,
    Confirmation,
    NumReplicas,
    Reconnect,
    RetryPolicy,
    Run,
    Send,
    Sleep,
)
from jobs.redis.scripts import Argument, Call, Reply

# redis-py packs a command in Python, which takes as long as the rest of sending it.
_pack: Callable[[tuple[Argument, ...]], bytes] = cast(Any, hiredis).pack_command


CallObserver = Callable[[str, float], None]
"""Called with the name of a script or plain command, and the seconds until its reply or failure."""


def ignore_call(_name: str, _seconds: float) -> None:
    """Observe nothing."""


def _wait(replicas: int, timeout_ms: int) -> tuple[Argument, ...]:
    return ("WAIT", replicas, timeout_ms)


class SyncTransport:
    """For threads: blocking and thread-safe."""

    def __init__(
        self, url: str, queue: str, *, timeout_s: float, observe: CallObserver = ignore_call
    ) -> None:
        self._policy = RetryPolicy(queue)
        self._url = url
        self._timeout_s = timeout_s
        self._observe = observe
        self._client: connection.SyncClient | None = None
        self._opening = threading.Lock()

    def run(self, call: Call[Reply], *, retry_for_s: float) -> Reply:
        """Return the script's reply. Raises QueueUnavailable after `retry_for_s` without one."""
        started_s = time.monotonic()
        attempt = self._policy.attempt(call)
        try:
            return self._send(attempt)
        except ERRORS as error:
            retry = self._policy.retry(call, attempt, error, started_s=started_s, retry_for_s=retry_for_s)
            return self._carry_out(retry)

    def check_rights(self, *, retry_for_s: float, replicas: NumReplicas = 0) -> None:
        """Raise NotPermitted if the user may not run every command of the queue; QueueUnavailable."""
        missing = self.run(scripts.probe(), retry_for_s=retry_for_s)
        self._carry_out(self._policy.check_rights(missing, replicas=replicas))

    def follow_primary(self) -> None:
        """Leave the old primary now if the Sentinels name another one."""
        pool = self._client.connection_pool if isinstance(self._client, redis.Redis) else None
        if isinstance(pool, SentinelConnectionPool):
            with contextlib.suppress(*ERRORS):  # the next script reports it
                pool.get_master_address()

    def close(self) -> None:
        if self._client is not None:
            connection.close_sync(self._client)

    def _carry_out(self, retry: Run[tuple[Reply, int]]) -> Reply:
        try:
            step = next(retry)
            while True:
                try:
                    result = None
                    match step:
                        case Send():
                            result = self._send(step), 0
                        case Reconnect():
                            self._reconnect(step)
                        case Sleep():
                            time.sleep(step.seconds)
                except ERRORS as error:
                    step = retry.throw(error)
                else:
                    step = retry.send(result)
        except StopIteration as stop:
            return stop.value[0]

    def _send(self, step: Send) -> Any:
        started_s = time.perf_counter()
        try:
            client = self._connected()
            step.was_sent = True
            return client.execute_command(*step.command)
        finally:
            self._observe(step.name, time.perf_counter() - started_s)

    def _connected(self) -> connection.SyncClient:
        # Opened at first use, because a Cluster must be reachable for that.
        with self._opening:
            if self._client is None:
                self._client = connection.open_sync(self._url, timeout_s=self._timeout_s)
            return self._client

    def _reconnect(self, step: Reconnect) -> None:
        # A server that answers but cannot serve may no longer be the master; a new connection asks the
        # Sentinels.
        if step.has_answered and isinstance(self._client, redis.Redis):
            self._client.connection_pool.disconnect(inuse_connections=False)


class AsyncTransport:
    """For one event loop. At most `max_in_flight` commands run at a time; the others wait their turn."""

    def __init__(
        self,
        url: str,
        queue: str,
        *,
        timeout_s: float,
        max_in_flight: int = 48,
        observe: CallObserver = ignore_call,
    ) -> None:
        self._observe = observe
        self._policy = RetryPolicy(queue)
        # Twice as many, because connections that are released after a failure still count for a moment.
        self._client = connection.open_async(url, timeout_s=timeout_s, max_connections=2 * max_in_flight)
        self._connections = PinnedConnections(self._client, keys.epoch(queue), timeout_s=timeout_s)
        self._in_flight = asyncio.Semaphore(max_in_flight)

    async def initialise(self, call: Call[bytes], *, retry_for_s: float) -> None:
        """Run scripts.initialise and keep the epoch that it returns. Raises DataLost."""
        self._policy.set_epoch(await self.run(call, retry_for_s=retry_for_s))

    async def check_rights(self, *, retry_for_s: float, replicas: NumReplicas = 0) -> None:
        """Raise NotPermitted if the user may not run every command of the queue; QueueUnavailable."""
        missing = await self.run(scripts.probe(), retry_for_s=retry_for_s)
        await self._carry_out(self._policy.check_rights(missing, replicas=replicas))

    async def run(self, call: Call[Reply], *, retry_for_s: float) -> Reply:
        """Return the script's reply. Raises QueueUnavailable after `retry_for_s` without one."""
        reply, _ = await self._run(call, retry_for_s, UNCONFIRMED, is_write=False)
        return reply

    async def run_confirmed(
        self, call: Call[Reply], *, retry_for_s: float, confirmation: Confirmation
    ) -> Reply:
        """As `run`, but return only once the replicas have the write.

        Raises OutcomeUnknown when the script may have run but that is not certain.
        """
        reply, missing = await self._run(call, retry_for_s, confirmation, is_write=True)
        if missing > 0:
            raise OutcomeUnknown(
                "The queue could not confirm the write. Retry with the same idempotency key."
            )
        return reply

    async def read_confirmed(
        self, call: Call[Reply], *, retry_for_s: float, confirmation: Confirmation
    ) -> Reply:
        """As `run`, but raise QueueUnavailable until the replicas have what the script read.

        The script must write, because WAIT counts from the last write of its connection.
        """
        reply, missing = await self._run(call, retry_for_s, confirmation, is_write=False)
        if missing > 0:
            raise QueueUnavailable(reason="Too few replicas have the last write. Check the replicas.")
        return reply

    async def command(self, *command: Argument) -> Any:
        """Return the reply of one plain command. It is not retried. Raises QueueUnavailable."""
        try:
            reply, _ = await self._send(Send(command))
        except ERRORS as error:
            if classify_error(error) is ErrorClass.FORBIDDEN:
                raise permanent_error(ErrorClass.FORBIDDEN, error) from error
            raise QueueUnavailable(reason=describe_error(error)) from error
        return reply

    async def follow_primary(self) -> None:
        """Leave the old primary now if the Sentinels name another one. Raises QueueUnavailable."""
        try:
            await self._connections.follow_primary()
        except ERRORS as error:
            raise QueueUnavailable(reason=describe_error(error)) from error

    def is_current(self, other: Any) -> bool:
        """Whether a connection of another client leads to the server that this transport uses."""
        return self._connections.is_current(other)

    async def close(self) -> None:
        await connection.close_async(self._client)

    async def _run(
        self, call: Call[Reply], retry_for_s: float, confirmation: Confirmation, *, is_write: bool
    ) -> tuple[Reply, int]:
        started_s = time.monotonic()
        attempt = self._policy.attempt(call, confirmation)
        try:
            return await self._send(attempt)
        except ERRORS as error:
            retry = self._policy.retry(
                call,
                attempt,
                error,
                started_s=started_s,
                retry_for_s=retry_for_s,
                confirmation=confirmation,
                is_write=is_write,
            )
            return await self._carry_out(retry)

    async def _carry_out(self, retry: Run[Reply]) -> Reply:
        try:
            step = next(retry)
            while True:
                try:
                    result = None
                    match step:
                        case Send():
                            result = await self._send(step)
                        case Reconnect():
                            await self._reconnect()
                        case Sleep():
                            await asyncio.sleep(step.seconds)
                except ERRORS as error:
                    step = retry.throw(error)
                else:
                    step = retry.send(result)
        except StopIteration as stop:
            return stop.value

    async def _send(self, step: Send) -> tuple[Any, int]:
        async with self._in_flight:
            started_s = time.perf_counter()  # the wait for a turn is not the server's time
            try:
                return await self._exchange(step)
            finally:
                self._observe(step.name, time.perf_counter() - started_s)

    async def _exchange(self, step: Send) -> tuple[Any, int]:
        async with self._connections.acquire() as wire:
            step.was_sent = True
            if not step.replicas:
                await wire.send_packed_command(_pack(step.command))
                return await wire.read_response(), 0
            count = ("ROLE",) if step.replicas == "all" else _wait(step.replicas, step.replica_timeout_ms)
            await wire.send_packed_command([_pack(step.command), _pack(count)])
            try:
                reply = await wire.read_response()
            except ResponseError as error:
                reply = error
            counted = await wire.read_response()
            if isinstance(reply, ResponseError):
                raise reply
            if step.replicas != "all":
                return reply, step.replicas - int(counted)
            if not (connected := len(counted[2])):
                return reply, 0
            await wire.send_packed_command(_pack(_wait(connected, step.replica_timeout_ms)))
            return reply, connected - int(await wire.read_response())

    async def _reconnect(self) -> None:
        # Clients of a single server or of Sentinels find their server when they connect.
        if isinstance(self._client, AsyncRedisCluster):
            try:
                await self._client.nodes_manager.initialize()
            except ERRORS:
                return
