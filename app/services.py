"""Objects that the routes share. `create_app` builds them once, and its lifespan opens them."""

import asyncio
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from starlette.requests import Request

from app.job_waiters import JobWaiters
from app.limits import ByteBudget, StreamSlots
from app.openai.models import ServedNames
from app.openai.rendering import ImageRenderer
from app.openai.sdk_retries import RetryMemory
from app.queue_connection import ModelWatch, QueueConnection
from app.quotas import QuotaMeter
from app.settings import Settings
from app.uploads import ImagePool
from jobs.client.client import JobClient
from telemetry.logging import present_trace_id
from telemetry.metrics import ApiMetrics
from telemetry.tracing import Tracer


@dataclass
class Services:
    settings: Settings
    metrics: ApiMetrics
    tracer: Tracer
    queue: QueueConnection
    models: ModelWatch
    quotas: QuotaMeter
    images: ImagePool
    bodies: ByteBudget
    streams: StreamSlots
    waiters: JobWaiters
    retries: RetryMemory
    renderer: ImageRenderer
    names: ServedNames
    draining: bool = False

    @property
    def client(self) -> JobClient:
        """The connected client. Raises QueueUnavailable."""
        return self.queue.client

    async def close(self) -> None:
        """Cancel the jobs of clients that the shutdown disconnects, then close everything."""
        self.draining = True
        await self.waiters.drain()
        await self.queue.close()
        self.images.close()
        self.renderer.close()
        await asyncio.to_thread(self.tracer.close)


def build_services(settings: Settings, tracer: Tracer) -> Services:
    metrics = ApiMetrics(
        CollectorRegistry(),
        version=version("rudolph-server"),
        trace_id=present_trace_id if tracer.is_on else None,
    )
    queue = QueueConnection(settings, metrics.redis_calls)
    return Services(
        settings=settings,
        metrics=metrics,
        tracer=tracer,
        queue=queue,
        models=ModelWatch(queue),
        quotas=QuotaMeter(queue),
        images=ImagePool(
            threads=settings.picture_threads,
            max_waiting=settings.max_pictures_waiting,
            max_bytes=settings.max_picture_bytes,
        ),
        bodies=ByteBudget(settings.max_bodies_bytes),
        streams=StreamSlots(settings.max_event_streams, settings.tenant_max_event_streams),
        waiters=JobWaiters(),
        retries=RetryMemory(),
        renderer=ImageRenderer(threads=settings.picture_threads),
        names=ServedNames(settings.served_model_name),
    )


def services_of(request: Request) -> Services:
    return request.app.state.services
