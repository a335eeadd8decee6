"""For those who run the server: is it alive, is it ready, what does it count."""

import asyncio

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry
from starlette.responses import Response

from app.errors import ApiError, json_response
from app.openapi import live_operation, metrics_operation, ready_operation
from app.services import Services, services_of
from jobs.errors import QueueError
from telemetry.metrics import QueueGauges, exposition

CHECK_TIMEOUT_S = 2.0


def health_router() -> APIRouter:
    router = APIRouter(prefix="/health", tags=["operations"])
    routes = (
        ("/live", live, "The process answers", live_operation()),
        ("/ready", ready, "Work would be done", ready_operation()),
    )
    for path, handler, summary, operation in routes:
        router.add_api_route(
            path, handler, methods=["GET"], summary=summary, response_model=None, openapi_extra=operation
        )
    return router


def metrics_router() -> APIRouter:
    router = APIRouter(tags=["operations"])
    router.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        summary="Prometheus metrics of this process, the queue and every live worker",
        response_model=None,
        openapi_extra=metrics_operation(),
    )
    return router


async def live() -> Response:
    """Never waits for anything."""
    return json_response({"status": "ok"})


async def ready(request: Request) -> Response:
    """200 when Redis has its data, a worker is live and not draining, and this process stays."""
    services = services_of(request)
    checks = {
        "redis": await _redis(services),
        "workers": await _workers(services),
        "api": "draining" if services.draining else "ok",
    }
    failing = [f"{name}: {word}" for name, word in checks.items() if word != "ok"]
    if not failing:
        return json_response({"status": "ready", "checks": checks})
    error = ApiError(503, "not_ready", f"Not ready. {'; '.join(failing)}.", retry_after_s=5)
    body = {"status": "not_ready", "checks": checks, **error.body()}
    return json_response(body, status=503, headers=error.headers)


async def metrics(request: Request) -> Response:
    services = services_of(request)
    text = exposition(services.metrics.registry) + await _queue_exposition(services)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _queue_exposition(services: Services) -> bytes:
    """The queue as it is now; nothing when it cannot be asked, since an old number would be a wrong one."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            stats = await services.client.stats()
            workers = await services.client.workers()
    except (QueueError, TimeoutError):
        return b""
    registry = CollectorRegistry()
    registry.register(
        QueueGauges(
            waiting=stats.waiting,
            running=stats.running,
            dead=stats.dead,
            workers_live=len(workers),
            expositions={worker.id: worker.metrics for worker in workers},
        )
    )
    return exposition(registry)


async def _redis(services: Services) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await services.client.ping()
    except QueueError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    return "ok"


async def _workers(services: Services) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            workers = await services.client.workers()
    except (QueueError, TimeoutError):
        return "unknown"
    if not workers:
        return "none is live"
    return "ok" if any(not worker.draining for worker in workers) else "all are draining"
