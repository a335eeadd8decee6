"""Runs scripts on the server: repeats what may be repeated, and checks that the data are still known.

An epoch is the identity of a queue's data. Whoever has seen one and finds it missing raises DataLost, and
leaves a mark so that nobody who starts later takes the emptied server for a new one.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import hiredis
import redis
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.exceptions import RedisError, ResponseError

from jobs import connection, keys
from jobs.errors import OutcomeUnknown, QueueUnavailable
from jobs.scripts import Script, load_scripts
from jobs.verdict import Verdict, judge, refusal, unavailable

Argument = str | bytes | int | float

_PAUSES_S = (0.0, 0.02, 0.05, 0.1, 0.2)
_LAST_PAUSE_S = 0.3
_log = logging.getLogger(__name__)
# The connection's own packing takes as long as everything else that it does.
_pack: Callable[[tuple[Argument, ...]], bytes] = cast(Any, hiredis).pack_command
_ERRORS = (RedisError, OSError, asyncio.IncompleteReadError, TimeoutError)


def _pause_s(attempt: int) -> float:
    return _PAUSES_S[attempt] if attempt < len(_PAUSES_S) else _LAST_PAUSE_S


def _alarm(prefix: str) -> None:
    _log.error("the data of queue %s are gone; see `rudolph jobs accept-data-loss`", prefix)


def _tired(attempt: int, patience_s: float, give_up_at: float) -> bool:
    """Whoever has any patience tries twice, even if the first try used it up waiting for a lost reply."""
    return time.monotonic() >= give_up_at and (attempt > 0 or patience_s == 0)


def _command(script: Script, whole: bool, key: str, arguments: tuple[Argument, ...]) -> tuple[Argument, ...]:
    head = ("EVAL", script.text) if whole else ("EVALSHA", script.sha)
    return (*head, 1, key, *arguments)


class SyncLink:
    """For threads: blocking, thread-safe, no state but the epoch."""

    def __init__(self, url: str, queue: str, *, timeout_s: float) -> None:
        self._prefix = keys.prefix(queue)
        self._key = keys.epoch(queue)
        self._url = url
        self._timeout_s = timeout_s
        self._client: connection.SyncClient | None = None
        self._opening = threading.Lock()
        self._epoch: str | None = None

    def client(self) -> connection.SyncClient:
        """Opened at first use, because a Cluster must be reachable for that."""
        with self._opening:
            if self._client is None:
                self._client = connection.open_sync(self._url, timeout_s=self._timeout_s)
            return self._client

    def run(self, name: str, *arguments: Argument, patience_s: float) -> Any:
        """The script's answer. Repeats it for `patience_s`, then raises QueueUnavailable."""
        script = load_scripts()[name]
        give_up_at = time.monotonic() + patience_s
        whole = False
        attempt = 0
        while True:
            verdict: Verdict
            try:
                return self._send(script, whole, arguments)
            except _ERRORS as error:
                verdict = judge(error)
                if verdict is Verdict.LOAD:
                    whole = True
                    continue
                if verdict is Verdict.OTHER_EPOCH and self._adopt():
                    continue
                if verdict is Verdict.DATA_LOST:
                    self._mark_loss()
                if verdict is not Verdict.AGAIN:
                    raise refusal(verdict, error) from error
                if _tired(attempt, patience_s, give_up_at):
                    raise unavailable() from error
                self._reconnect_if_answered(error)
            time.sleep(_pause_s(attempt))
            attempt += 1

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _send(self, script: Script, whole: bool, arguments: tuple[Argument, ...]) -> Any:
        client = self.client()
        epoch = self._epoch
        if epoch is None:
            found: Any = client.execute_command("GET", self._key)
            if found is None:
                raise QueueUnavailable("the queue has not been initialised yet")
            epoch = self._epoch = str(found.decode())
        command = _command(script, whole, self._key, (self._prefix, epoch, *arguments))
        return client.execute_command(*command)

    def _reconnect_if_answered(self, error: Exception) -> None:
        """A server that answers but cannot serve may no longer be the master: ask the Sentinels again."""
        if isinstance(error, ResponseError) and isinstance(self._client, redis.Redis):
            self._client.connection_pool.disconnect(inuse_connections=False)

    def _adopt(self) -> bool:
        """Accept new data if an operator declared the loss of ours."""
        try:
            client = self.client()
            if self._epoch is not None and not client.execute_command(
                "SISMEMBER", self._prefix + "forgiven", self._epoch
            ):
                return False
            found: Any = client.execute_command("GET", self._key)
        except _ERRORS:
            return False
        self._epoch = found.decode() if found else None
        return found is not None

    def _mark_loss(self) -> None:
        if self._epoch is None:
            return
        _alarm(self._prefix)
        try:
            self.client().execute_command("SET", self._prefix + "lost", self._epoch)
        except _ERRORS:
            return


class AsyncLink:
    """For one event loop. At most `max_in_flight` commands run at a time; the others wait their turn."""

    def __init__(self, url: str, queue: str, *, timeout_s: float, max_in_flight: int = 48) -> None:
        self._prefix = keys.prefix(queue)
        self._key = keys.epoch(queue)
        # Twice as many, for after a failure those that are given back still count for a moment.
        self._client = connection.open_async(url, timeout_s=timeout_s, max_connections=2 * max_in_flight)
        self._wires = connection.Wires(self._client, self._key, timeout_s=timeout_s)
        self._turns = asyncio.Semaphore(max_in_flight)
        self._epoch: str | None = None

    @property
    def epoch(self) -> str | None:
        return self._epoch

    async def initialise(self, new_epoch: str, *, accept_loss: bool, patience_s: float) -> None:
        """Make the epoch on an empty server, or learn the one that is there. Raises DataLost."""
        arguments = (self._prefix, new_epoch, "1" if accept_loss else "0")
        reply, _ = await self._repeat("initialise", arguments, patience_s, 0, 0)
        self._epoch = reply.decode()

    async def run(self, name: str, *arguments: Argument, patience_s: float) -> Any:
        """The script's answer. Repeats it for `patience_s`, then raises QueueUnavailable."""
        reply, _ = await self._repeat(name, arguments, patience_s, 0, 0, with_epoch=True)
        return reply

    async def run_confirmed(
        self, name: str, *arguments: Argument, patience_s: float, replicas: int, replica_timeout_ms: int
    ) -> Any:
        """As `run`, but the answer counts only once `replicas` have it too.

        Raises OutcomeUnknown when the script may have run but nobody can say so for sure.
        """
        reply, confirmed = await self._repeat(
            name, arguments, patience_s, replicas, replica_timeout_ms, with_epoch=True, unknown_matters=True
        )
        if confirmed < replicas:
            raise OutcomeUnknown("the queue could not confirm the write; retry with the same idempotency key")
        return reply

    async def command(self, *command: Argument) -> Any:
        """One plain command, not repeated. Raises QueueUnavailable."""
        try:
            async with self._turns, self._wires.borrow() as wire:
                await wire.send_command(*command)
                return await wire.read_response()
        except _ERRORS as error:
            raise unavailable() from error

    async def read_confirmed(self, *command: Argument, replicas: int, replica_timeout_ms: int) -> Any:
        """What a plain command reads, once `replicas` have everything that it may have read.

        Raises QueueUnavailable otherwise.
        """
        try:
            reply, confirmed = await self._exchange(command, replicas, replica_timeout_ms, [])
        except _ERRORS as error:
            raise unavailable() from error
        if confirmed < replicas:
            raise unavailable()
        return reply

    async def close(self) -> None:
        await connection.close_async(self._client)

    async def _repeat(
        self,
        name: str,
        arguments: tuple[Argument, ...],
        patience_s: float,
        replicas: int,
        replica_timeout_ms: int,
        *,
        with_epoch: bool = False,
        unknown_matters: bool = False,
    ) -> tuple[Any, int]:
        script = load_scripts()[name]
        give_up_at = time.monotonic() + patience_s
        whole = maybe_ran = False
        attempt = 0
        while True:
            head = (self._prefix, self._epoch or "") if with_epoch else ()
            command = _command(script, whole, self._key, (*head, *arguments))
            sent: list[bool] = []
            try:
                return await self._exchange(command, replicas, replica_timeout_ms, sent)
            except _ERRORS as error:
                verdict = judge(error)
                if verdict is Verdict.LOAD:
                    whole = True
                    continue
                if verdict is Verdict.OTHER_EPOCH and await self._adopt():
                    continue
                if verdict is Verdict.DATA_LOST:
                    await self._mark_loss()
                if verdict is not Verdict.AGAIN:
                    raise refusal(verdict, error) from error
                # An error in reply says that the script has written nothing; silence says nothing.
                maybe_ran = maybe_ran or (bool(sent) and not isinstance(error, ResponseError))
                if _tired(attempt, patience_s, give_up_at):
                    if maybe_ran and unknown_matters:
                        raise OutcomeUnknown(
                            "the queue did not answer; retry with the same idempotency key"
                        ) from error
                    raise unavailable() from error
                if isinstance(self._client, AsyncRedisCluster):
                    await self._refresh()
            await asyncio.sleep(_pause_s(attempt))
            attempt += 1

    async def _exchange(
        self, command: tuple[Argument, ...], replicas: int, replica_timeout_ms: int, sent: list[bool]
    ) -> tuple[Any, int]:
        async with self._turns, self._wires.borrow() as wire:
            sent.append(True)
            if not replicas:
                await wire.send_packed_command(_pack(command))
                return await wire.read_response(), 0
            both = (command, ("WAIT", replicas, replica_timeout_ms))
            await wire.send_packed_command([_pack(one) for one in both])
            try:
                reply = await wire.read_response()
            except ResponseError as error:
                reply = error
            confirmed = await wire.read_response()
            if isinstance(reply, ResponseError):
                raise reply
            return reply, int(confirmed)

    async def _refresh(self) -> None:
        try:
            await connection.refresh(self._client)
        except _ERRORS:
            return

    async def _adopt(self) -> bool:
        try:
            forgiven = await self.command("SISMEMBER", self._prefix + "forgiven", self._epoch or "")
            found = await self.command("GET", self._key)
        except QueueUnavailable:
            return False
        if not found or not forgiven:
            return False
        self._epoch = found.decode()
        return True

    async def _mark_loss(self) -> None:
        if self._epoch is None:
            return
        _alarm(self._prefix)
        try:
            await self.command("SET", self._prefix + "lost", self._epoch)
        except QueueUnavailable:
            return
