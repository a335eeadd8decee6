"""Reads the queue and its Redis server: their metrics at each scrape, and the findings of readiness."""

import asyncio
from contextlib import suppress

from prometheus_client.registry import Collector

from app.services import Services
from jobs.client.client import JobClient
from jobs.client.replies import QueueStats
from jobs.contract.errors import QueueError
from jobs.contract.job import JobState
from jobs.contract.worker_info import WorkerInfo
from jobs.redis.server_info import Finding
from telemetry.queue_metrics import QueueGauges, QueueSignals, ServerGauges

SCRAPE_TIMEOUT_S = 1.5
"""For the queue's part of a scrape; Prometheus gives up after 10 s by default."""
UNREADABLE_KINDS = ("event", "heartbeat", "record")
"""Read by this process. Jobs are read by scripts, which count for the whole queue."""
REQUEUE_REASONS = ("released", "lease_lost", "crashed", "retried")
_ENDED = tuple(state for state in JobState if state.is_terminal)


async def queue_collectors(services: Services) -> list[Collector]:
    """Return what to export. While the queue cannot be read, only the state of Redis."""
    collectors: list[Collector] = []
    server = ServerGauges(up=False, writable=False)
    with suppress(QueueError, TimeoutError):
        async with asyncio.timeout(SCRAPE_TIMEOUT_S):
            client = services.client
            stats = await client.stats()
            collectors.append(await _gauges(client, stats))
            collectors.append(await _signals(services, client, stats))
            server = await _server_gauges(client)
    return [*collectors, server]


async def redis_findings(services: Services) -> list[Finding]:
    """Return the faults of the Redis server; none if it does not answer, because another check says so."""
    with suppress(QueueError, TimeoutError):
        async with asyncio.timeout(SCRAPE_TIMEOUT_S):
            return await services.client.server_findings()
    return []


async def _gauges(client: JobClient, stats: QueueStats) -> QueueGauges:
    workers = await client.workers()
    return QueueGauges(
        waiting=stats.waiting,
        parked=stats.parked,
        running=stats.running,
        dead=stats.dead,
        paused=stats.pause is not None,
        workers_live=len(workers),
        workers_draining=sum(worker.draining for worker in workers),
        start_in_s=_start_in_s(stats, workers),
        unreadable={kind: client.unreadable[kind] for kind in UNREADABLE_KINDS} | {"job": stats.unreadable},
        expositions={worker.id: worker.metrics for worker in workers},
    )


def _start_in_s(stats: QueueStats, workers: list[WorkerInfo]) -> float | None:
    """Return about when a job that is submitted now starts: at once if a slot is free."""
    slots = sum(worker.slots for worker in workers if not worker.draining)
    has_room = stats.waiting == 0 and stats.running < slots and stats.pause is None
    return 0.0 if has_room else stats.start_in_s(stats.waiting)


async def _signals(services: Services, client: JobClient, stats: QueueStats) -> QueueSignals:
    signals = await client.signals()
    return QueueSignals(
        oldest_waiting_s=signals.oldest_waiting_s,
        oldest_unfinished_s=signals.oldest_unfinished_s,
        sequences_waiting=signals.sequences_waiting,
        num_bytes=stats.input_bytes,
        jobs_limit=services.settings.max_queue_depth,
        bytes_limit=services.settings.max_queue_bytes,
        waiting_by_tenant=signals.waiting_by_tenant,
        ended={state.value: stats.totals.get(state.value, 0) for state in _ENDED},
        requeued={reason: signals.requeued.get(reason, 0) for reason in REQUEUE_REASONS},
        worker_starts=signals.worker_starts,
        worker_ends=signals.worker_ends,
        stored_again=client.num_stored_again,
    )


async def _server_gauges(client: JobClient) -> ServerGauges:
    info = await client.server_info()
    writable = True
    try:
        await client.check_rights()
    except QueueError:
        writable = False
    if info is None:
        return ServerGauges(up=True, writable=writable)
    return ServerGauges(
        up=True,
        writable=writable,
        replicas=info.num_replicas,
        aof_ok=not info.write_error,
        used_bytes=info.used_bytes,
        max_bytes=info.max_bytes,
    )
