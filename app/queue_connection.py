"""The API's connection to the queue, and the model that its workers announce."""

import asyncio
from contextlib import suppress

from app.errors import ApiError
from app.settings import Settings
from jobs.client.client import JobClient
from jobs.contract.errors import QueueUnavailable
from jobs.contract.limits import QueueLimits
from jobs.contract.worker_info import ModelInfo
from jobs.redis.address import without_credentials
from jobs.redis.transport import CallObserver, ignore_call
from telemetry.logging import get_logger

CONNECT_RETRY_S = 1.0
NO_WORKER_RETRY_S = 10


class QueueConnection:
    """Connects to the queue. The API starts without Redis, and connects once Redis can be reached."""

    def __init__(self, settings: Settings, observe: CallObserver = ignore_call) -> None:
        """`observe` gets the time of each command to Redis."""
        self._settings = settings
        self._observe = observe
        self._client: JobClient | None = None
        self._failure = QueueUnavailable()
        """The last failure to connect."""
        self._reported = ""
        """The reason that was logged last; empty while Redis can be used."""
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger("app.queue")

    @property
    def client(self) -> JobClient:
        """The connected client. Raises QueueUnavailable, or the subclass that names the cause."""
        if self._client is None:
            raise type(self._failure)(str(self._failure), reason=self._failure.reason)
        return self._client

    async def open(self) -> None:
        try:
            await self._connect()
        except QueueUnavailable as error:
            self._report(error)
        self._task = asyncio.create_task(self._keep())

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
            observe=self._observe,
        )

    async def _keep(self) -> None:
        """Connect, then log each change of the state of Redis. A task that ends would leave no queue."""
        while True:
            await asyncio.sleep(CONNECT_RETRY_S)
            try:
                if self._client is None:
                    await self._connect()
                else:
                    await self._client.ping()
            except QueueUnavailable as error:
                if error.reason != self._reported:
                    self._report(error)
            except Exception:
                self._log.exception("queue_connection_failed")
            else:
                if self._reported:
                    self._log.info("queue_available")
                self._reported = ""

    def _report(self, error: QueueUnavailable) -> None:
        self._failure = error
        self._reported = error.reason
        address = without_credentials(self._settings.redis_url or "")
        message = f"Cannot use Redis at {address}. {error.reason} Trying again every {CONNECT_RETRY_S:g} s."
        self._log.warning("queue_unavailable", message=message)


class ModelWatch:
    """The model that requests are checked against: that of a live worker, or else the last one.

    Requests are accepted while no worker lives, because their deadline bounds the wait. Before the first
    worker of the queue there is no model to check against: 503.
    """

    def __init__(self, queue: QueueConnection) -> None:
        self._queue = queue

    async def current(self) -> ModelInfo:
        if (model := await self._queue.client.model_info()) is None:
            message = (
                "No worker has reported to this server yet. Start one with `rudolph worker` and try again."
            )
            raise ApiError(503, "no_worker", message, retry_after_s=NO_WORKER_RETRY_S)
        return model
