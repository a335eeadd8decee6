"""The application: settings in, FastAPI out. `uvicorn --factory app.main:create_app`, or `rudolph serve`.

Nothing happens at import. The lifespan opens the queue and closes it; what the routes share is in
`app.services`.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.admission import ByteBudget, ModelWatch, StreamSlots
from app.auth import AuthMiddleware, KeyRing, load_keys
from app.errors import ApiError, from_queue_error, from_status
from app.middleware import BodyLimitMiddleware, ContextMiddleware
from app.openapi import DESCRIPTION, TAGS, openapi_document, operation_id
from app.pictures import PicturePool
from app.retries import RetryMemory
from app.routers.jobs import jobs_router
from app.routers.openai import openai_router
from app.routers.operations import health_router, metrics_router
from app.routers.playground import playground_router
from app.routers.reference import reference_router
from app.routers.tasks import tasks_router
from app.services import QueueLink, Services
from app.settings import Settings
from app.waiting import Waiters
from jobs.errors import QueueError
from telemetry.metrics import ApiMetrics
from telemetry.tracing import open_tracer

VERSION = "0.1.0"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The whole HTTP side. Settings default to the environment's. Raises ValueError for bad keys."""
    settings = settings or Settings()  # pyright: ignore[reportCallIssue]
    services, keys = _services(settings), load_keys(settings)
    app = FastAPI(
        title="RuDOLPH",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        # Its own spans carry raw addresses, and a request has one span here: that of `telemetry.spans`.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=_middleware(settings, services, keys),
        generate_unique_id_function=operation_id,
        exception_handlers={
            ApiError: _answer_api_error,
            QueueError: _answer_queue_error,
            HTTPException: _answer_router_error,
        },
    )
    app.state.services = services
    app.include_router(tasks_router())
    app.include_router(jobs_router())
    app.include_router(openai_router())
    app.include_router(health_router())
    if settings.metrics:
        app.include_router(metrics_router())
    if settings.playground:
        app.include_router(playground_router())
    if settings.docs:
        app.include_router(reference_router())
    app.openapi = cast(Callable[[], dict[str, object]], lambda: openapi_document(app, closed=keys.closed))
    return app


def _services(settings: Settings) -> Services:
    return Services(
        settings=settings,
        metrics=ApiMetrics(CollectorRegistry()),
        tracer=open_tracer(os.environ, "rudolph-api"),
        queue=QueueLink(settings),
        pictures=PicturePool(
            threads=settings.picture_threads,
            max_waiting=settings.max_pictures_waiting,
            max_bytes=settings.max_picture_bytes,
        ),
        models=ModelWatch(),
        bodies=ByteBudget(settings.max_bodies_bytes),
        streams=StreamSlots(settings.max_event_streams, settings.tenant_max_event_streams),
        waiters=Waiters(),
        retries=RetryMemory(),
    )


def _middleware(settings: Settings, services: Services, keys: KeyRing) -> list[Middleware]:
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["*"],
    )
    return [
        Middleware(ContextMiddleware, services.metrics, services.tracer),
        *([cors] if settings.cors_origins else []),
        Middleware(AuthMiddleware, keys, lambda: services.client),
        Middleware(
            BodyLimitMiddleware,
            settings.max_body_bytes,
            settings.body_timeout_s,
            settings.body_idle_timeout_s,
        ),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    services: Services = app.state.services
    await services.queue.open()
    try:
        yield
    finally:
        services.draining = True
        await services.waiters.settle()
        await services.queue.close()
        services.pictures.close()
        await asyncio.to_thread(services.tracer.close)


async def _answer_api_error(_: Request, error: Exception) -> Response:
    return cast(ApiError, error).response()


async def _answer_queue_error(_: Request, error: Exception) -> Response:
    return from_queue_error(cast(QueueError, error)).response()


async def _answer_router_error(request: Request, error: Exception) -> Response:
    refused = cast(HTTPException, error)
    answer = from_status(refused.status_code, str(refused.detail), request.method, request.url.path)
    answer.headers.update(refused.headers or {})
    if "Allow" in answer.headers:
        answer.headers["Allow"] = _allowed(request) or answer.headers["Allow"]
    return answer.response()


def _allowed(request: Request) -> str:
    """Every method of the path: the router names those of its first matching route only."""
    paths: dict[str, dict[str, object]] = request.app.openapi()["paths"]
    route: str = getattr(request.scope.get("route"), "path", "")
    return ", ".join(sorted(method.upper() for method in paths.get(route, {})))
