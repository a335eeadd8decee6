"""The application factory: `uvicorn --factory app.main:create_app`, or `rudolph serve`.

Nothing happens at import. The lifespan opens the queue and closes it; `app.services` holds what routes share.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus
from importlib.metadata import version
from typing import cast

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from prometheus_client import disable_created_metrics
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.auth import AuthMiddleware, KeyRing
from app.errors import ApiError, api_error_of, from_status
from app.huggingface.mapping import HUB_TASKS
from app.huggingface.replies import StreamedText
from app.huggingface.routes import hub_router
from app.keys import load_keys
from app.loop_lag import observe_lag
from app.methods import HeadMiddleware
from app.middleware import BodyLimitMiddleware, ContextMiddleware
from app.openai.replies import CompletedImageEvent, PartialImageEvent, TextChunk
from app.openai.rerank import RerankBody, rerank_router
from app.openai.responses.replies import ResponseEvent
from app.openai.responses.schemas import ResponsesBody
from app.openai.router import openai_router
from app.openai.schemas import EXAMPLES
from app.openapi import DESCRIPTION, TAGS, openapi_builder, operation_id
from app.origins import OriginMiddleware
from app.proxies import PrefixMiddleware
from app.routers.jobs import JobBody, jobs_router
from app.routers.operations import health_router, metrics_router, version_router
from app.routers.pages import paths_of, playground_router, reference_router
from app.routers.tasks import tasks_router
from app.services import Services, build_services
from app.settings import Settings
from app.sse import NATIVE_DATA
from app.tasks import TASKS
from jobs.contract.errors import QueueError
from telemetry.misconfiguration import MISCONFIGURED, settings_fault
from telemetry.tracing import open_tracer


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the HTTP side. Raises ValueError for invalid keys.

    Without `settings`, as uvicorn calls it, it reads the environment. If that is invalid, it ends the process
    with one line and exit code 78.
    """
    if settings is not None:
        return _build(settings, load_keys(settings))
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue]
        keys = load_keys(settings)
        if settings.redis_url is None:
            raise ValueError(
                "RUDOLPH_REDIS_URL is not set; name a Redis, or use `rudolph serve`, which starts one."
            )
    except ValueError as error:
        sys.stderr.write(f"error: {settings_fault(error)}\n")
        sys.exit(MISCONFIGURED)
    return _build(settings, keys)


def _build(settings: Settings, keys: KeyRing) -> FastAPI:
    disable_created_metrics()  # a series more for each counter, which no query needs
    services = build_services(settings, open_tracer(os.environ, "rudolph-api"))
    pages = [
        *([playground_router()] if settings.playground else []),
        *([reference_router()] if settings.docs else []),
    ]
    app = FastAPI(
        title="RuDOLPH",
        version=version("rudolph-server"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        # FastAPI's spans would hold raw URLs. `telemetry.tracing` makes the one span of a request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=_middleware(settings, services, keys, paths_of(pages)),
        generate_unique_id_function=operation_id,
        exception_handlers={
            ApiError: _answer_error,
            QueueError: _answer_error,
            HTTPException: _answer_router_error,
        },
    )
    app.state.services = services
    app.state.body_thread = ThreadPoolExecutor(1, thread_name_prefix="body")
    app.include_router(tasks_router())
    app.include_router(jobs_router())
    app.include_router(openai_router())
    app.include_router(rerank_router())
    app.include_router(hub_router())
    app.include_router(health_router())
    app.include_router(version_router())
    if settings.mcp:
        from app.mcp_endpoint.routes import mcp_router  # the package is optional

        router, app.state.mcp = mcp_router(settings.max_body_bytes)
        app.include_router(router)
    if settings.metrics:
        app.include_router(metrics_router())
    for router in pages:
        app.include_router(router)
    bodies = [*(route.body for route in TASKS.values()), *EXAMPLES, RerankBody, ResponsesBody, JobBody]
    bodies += [task.body for task in HUB_TASKS.values()]
    events = [*NATIVE_DATA, PartialImageEvent, CompletedImageEvent, TextChunk, ResponseEvent, StreamedText]
    app.openapi = openapi_builder(app, bodies, events, closed=keys.closed)
    return app


def _middleware(
    settings: Settings, services: Services, keys: KeyRing, open_paths: frozenset[str]
) -> list[Middleware]:
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["*"],
    )
    return [
        Middleware(PrefixMiddleware, settings.root_path),
        Middleware(ContextMiddleware, services.metrics, services.tracer),
        *([cors] if settings.cors_origins else []),
        Middleware(
            OriginMiddleware,
            hosts=(settings.host, *settings.allowed_hosts),
            origins=settings.cors_origins,
            checks_hosts=bool(settings.allowed_hosts) or not keys.closed,
        ),
        Middleware(AuthMiddleware, keys, services.quotas, open_paths),
        Middleware(
            BodyLimitMiddleware,
            settings.max_body_bytes,
            settings.body_timeout_s,
            settings.body_idle_timeout_s,
        ),
        Middleware(HeadMiddleware),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    services: Services = app.state.services
    await services.queue.open()
    manager = getattr(app.state, "mcp", None)
    lag = asyncio.create_task(observe_lag(services.metrics.event_loop_lag_seconds))
    try:
        async with nullcontext() if manager is None else manager.run():
            yield
    finally:
        lag.cancel()
        await services.close()
        app.state.body_thread.shutdown(wait=False, cancel_futures=True)


async def _answer_error(_: Request, error: Exception) -> Response:
    return api_error_of(error).response()


async def _answer_router_error(request: Request, error: Exception) -> Response:
    refused = cast(HTTPException, error)
    if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": _allowed_methods(request)})
    answer = from_status(refused.status_code, str(refused.detail), request.method, request.url.path)
    answer.headers.update(refused.headers or {})
    if "Allow" in answer.headers:
        answer.headers["Allow"] = _allowed_methods(request)
    return answer.response()


def _allowed_methods(request: Request) -> str:
    """Return every method of the path. The router names only those of the first route that matches."""
    path: str = request.scope["route"].path
    routes = [route for route in iter_route_contexts(request.app.routes) if route.path == path]
    methods = {"OPTIONS"}.union(*(route.methods or () for route in routes))
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
