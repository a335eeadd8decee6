"""Reads the current state of the queue and its workers."""

import asyncio
import logging
import time
from contextlib import suppress

from msgspec import structs

from jobs.client.calls import RETRY_FOR_S, ScriptCalls
from jobs.client.replies import LiveWorker, Pause, QueueStats, Signals
from jobs.contract import codec
from jobs.contract.errors import CodecError, DataLost, NotPermitted, QueueError, QueueUnavailable
from jobs.contract.worker_info import ModelInfo, WorkerInfo
from jobs.redis import keys, scripts
from jobs.redis.retry import NumReplicas
from jobs.redis.server_info import ServerInfo
from jobs.redis.transport import AsyncTransport

_PING_TIMEOUT_S = 1.5
_MODEL_CACHE_S = 1.0
_log = logging.getLogger(__name__)


class Monitoring(ScriptCalls):
    """The part of JobClient for health checks, metrics and the model's description."""

    def __init__(self, transport: AsyncTransport, queue: str, *, replicas: NumReplicas = 0) -> None:
        super().__init__(transport)
        self._replicas: NumReplicas = replicas
        self._epoch_key, self._lost_key = keys.epoch(queue), keys.lost(queue)
        self._model: tuple[float, ModelInfo | None] = (-_MODEL_CACHE_S, None)
        self._unreadable_workers: set[str] = set()

    async def workers(self) -> list[WorkerInfo]:
        """Return the last heartbeat of each live worker. A heartbeat that cannot be read is left out."""
        described = dict(await self._run(scripts.workers()))
        return list(self._readable(described).values())

    async def fleet(self) -> list[LiveWorker]:
        """Return each live worker whose heartbeat can be read, with the number of its jobs."""
        reply = await self._run(scripts.fleet())
        readable = self._readable({name: data for name, data, _, _ in reply})
        return [
            LiveWorker(readable[name], int(jobs), bool(drains) or readable[name].draining)
            for name, _, jobs, drains in reply
            if name in readable
        ]

    def _readable(self, described: dict[bytes, bytes]) -> dict[bytes, WorkerInfo]:
        readable: dict[bytes, WorkerInfo] = {}
        unreadable: set[str] = set()
        for name, data in described.items():
            try:
                readable[name] = codec.decode_worker(data)
            except CodecError as error:  # of a newer release, while a rolling upgrade runs
                worker = name.decode(errors="replace")
                unreadable.add(worker)
                if worker not in self._unreadable_workers:
                    self.unreadable["heartbeat"] += 1
                    _log.warning("The heartbeat of worker %s cannot be read: %s", worker, error)
        self._unreadable_workers = unreadable
        return readable

    async def model_info(self) -> ModelInfo | None:
        """Return the model of a live worker that takes jobs, at most a second old.

        If workers have different models, it is the one with the newest checkpoint. Without such a worker it
        is the model that any process returned last, which Redis keeps; None if there never was one.
        """
        now = asyncio.get_running_loop().time()
        if now - self._model[0] >= _MODEL_CACHE_S:
            live = [worker for worker in await self.workers() if not worker.draining]
            newest = max(live, key=lambda worker: (worker.model.created_s, worker.id), default=None)
            if newest is None:
                model = await self._kept_model()
            else:
                model = newest.model
                if model != self._model[1]:
                    await self._keep_model(newest)
            self._model = (now, model)
        return self._model[1]

    async def _keep_model(self, worker: WorkerInfo) -> None:
        data = codec.encode_worker(structs.replace(worker, metrics=b""))
        with suppress(QueueError):  # requests must not fail because Redis refuses this write
            await self._run(scripts.keep_model(worker_info=data))

    async def _kept_model(self) -> ModelInfo | None:
        data = await self._run(scripts.kept_model())
        with suppress(CodecError):  # of a newer release
            return codec.decode_worker(data).model if data else None
        return None

    async def stats(self) -> QueueStats:
        reply = await self._run(scripts.stats())
        waiting, running, dead, num_bytes, mean, workers, totals, parked, unreadable, paused = reply
        return QueueStats(
            waiting=int(waiting),
            running=int(running),
            dead=int(dead),
            input_bytes=int(num_bytes),
            mean_service_s=float(mean),
            workers_live=int(workers),
            parked=int(parked),
            unreadable=int(unreadable),
            totals=_counts(totals),
            pause=_pause(paused),
        )

    async def signals(self) -> Signals:
        """Return what shows whether the queue makes progress."""
        waiting, unfinished, sequences, tenants, starts, ends, requeued = await self._run(scripts.signals())
        return Signals(
            oldest_waiting_s=float(waiting),
            oldest_unfinished_s=float(unfinished),
            sequences_waiting=int(sequences),
            waiting_by_tenant=_counts(tenants),
            worker_starts=_counts(starts),
            worker_ends={_slot_and_reason(name): number for name, number in _counts(ends).items()},
            requeued=_counts(requeued),
        )

    async def server_info(self) -> ServerInfo | None:
        """Return what the Redis server reports of itself; None if the user may not ask. Writes nothing."""
        try:
            return ServerInfo.parse(await self._transport.command("INFO"))
        except NotPermitted:
            return None

    async def clock_difference_s(self) -> float:
        """Return the clock of Redis minus the clock of this machine."""
        before_s = time.time()
        return await self.redis_time_s() - (before_s + time.time()) / 2

    async def inspect(self) -> bool:
        """Return whether Redis has the queue, and check the rights of the user. Leaves nothing in Redis.

        Raises QueueUnavailable, NotPermitted, and DataLost if the queue was here and its data are gone.
        """
        await self._transport.check_rights(retry_for_s=RETRY_FOR_S, replicas=self._replicas)
        if await self._transport.command("GET", self._epoch_key) is not None:
            await self.stats()
            return True
        if await self._transport.command("GET", self._lost_key) is not None:
            raise DataLost(
                "The queue has lost its data. An operator must restore them or run "
                "`rudolph jobs accept-data-loss`."
            )
        return False

    async def check_rights(self) -> None:
        """Raise QueueUnavailable or NotPermitted if the queue cannot be written now. Not retried."""
        await self._transport.check_rights(retry_for_s=0.0, replicas=self._replicas)

    async def ping(self) -> None:
        """Raise QueueUnavailable, NotPermitted or DataLost if the queue cannot be read and written now.

        Checks all rights each time, because an operator may change them while the server runs.
        """
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await self._transport.run(scripts.stats(), retry_for_s=0.0)
                await self.check_rights()
        except TimeoutError as error:
            reason = f"The server does not answer within {_PING_TIMEOUT_S:g} s."
            raise QueueUnavailable(reason=reason) from error


def _counts(flat: list[bytes]) -> dict[str, int]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(errors="replace"): int(count) for name, count in pairs}


def _slot_and_reason(name: str) -> tuple[str, str]:
    slot, _, reason = name.rpartition(" ")
    return slot, reason


def _pause(flat: list[bytes]) -> Pause | None:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if not fields:
        return None
    return Pause(float(fields[b"since"]), fields[b"reason"].decode(errors="replace"))
