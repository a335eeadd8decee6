"""What the routes share, built once by `create_app` and opened by its lifespan. No module globals."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import Request

from app.admission import ByteBudget, ModelWatch, StreamSlots
from app.auth import Principal
from app.pictures import PicturePool
from app.retries import RetryMemory
from app.settings import Settings
from app.waiting import Waiters
from jobs.client import JobClient
from jobs.errors import QueueUnavailable
from jobs.limits import QueueLimits
from telemetry.logging import get_logger
from telemetry.metrics import ApiMetrics
from telemetry.tracing import Tracer

CONNECT_RETRY_S = 1.0


class QueueLink:
    """The connection to the queue. The API starts without Redis and connects as soon as there is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: JobClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger("app.queue")

    @property
    def client(self) -> JobClient:
        if self._client is None:
            raise QueueUnavailable("The queue cannot be reached. Try again soon.")
        return self._client

    async def open(self) -> None:
        try:
            await self._connect()
        except QueueUnavailable as error:
            self._log.warning("queue_unavailable", error=str(error))
            self._task = asyncio.create_task(self._keep_trying())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._client:
            await self._client.close()

    async def _connect(self) -> None:
        settings = self._settings
        if settings.redis_url is None:
            raise ValueError(
                "RUDOLPH_REDIS_URL is not set. `rudolph serve` starts its own server and sets it."
            )
        self._client = await JobClient.connect(
            settings.redis_url,
            queue=settings.queue_name,
            limits=QueueLimits(
                max_depth=settings.max_queue_depth,
                max_bytes=settings.max_queue_bytes,
                tenant_max_jobs=settings.tenant_max_jobs,
                job_ttl_s=settings.job_ttl_s,
                wait_replicas=settings.wait_replicas,
                wait_timeout_ms=settings.wait_timeout_ms,
            ),
        )

    async def _keep_trying(self) -> None:
        while self._client is None:
            await asyncio.sleep(CONNECT_RETRY_S)
            with suppress(QueueUnavailable):
                await self._connect()
        self._log.info("queue_connected")


@dataclass
class Services:
    settings: Settings
    metrics: ApiMetrics
    tracer: Tracer
    queue: QueueLink
    pictures: PicturePool
    models: ModelWatch
    bodies: ByteBudget
    streams: StreamSlots
    waiters: Waiters
    retries: RetryMemory
    draining: bool = False

    @property
    def client(self) -> JobClient:
        return self.queue.client


def services_of(request: Request) -> Services:
    return request.app.state.services


def principal_of(request: Request) -> Principal:
    return request.scope["principal"]
