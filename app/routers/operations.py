"""Routes for operators: liveness, readiness, metrics."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from app.errors import ApiError, ErrorBody, json_response
from app.openapi import READING_ERRORS, errors, response
from app.queue_signals import queue_collectors, redis_findings
from app.services import Services, services_of
from jobs.contract.errors import QueueError, QueueUnavailable
from jobs.redis.server_info import Finding
from telemetry.metrics import render

CHECK_TIMEOUT_S = 2.0


class LiveReply(BaseModel):
    status: Literal["ok"] = Field(
        default="ok", description="Always `ok`; a process that hangs sends no reply."
    )


class VersionReply(BaseModel):
    version: str = Field(description="The release of this process.", examples=["0.2.0"])


Checks = Annotated[
    dict[str, str],
    Field(description="redis, model, api: ok, or what is wrong. The state of the workers is only reported."),
]
RedisWarnings = Annotated[
    list[str], Field(description="Settings of Redis that put accepted jobs at risk; usually empty.")
]


class ReadyReply(BaseModel):
    status: Literal["ready"] = Field(default="ready", description="Always `ready`, with HTTP status 200.")
    checks: Checks
    warnings: RedisWarnings = []


class NotReadyReply(BaseModel):
    status: Literal["not_ready"] = Field(
        default="not_ready", description="Always `not_ready`, with HTTP status 503."
    )
    checks: Checks
    warnings: RedisWarnings = []
    error: ErrorBody


def health_router() -> APIRouter:
    router = APIRouter(tags=["operations"])
    is_open = {"security": list[dict[str, list[str]]]()}
    router.add_api_route(
        "/health/live",
        live,
        methods=["GET"],
        summary="The process answers",
        response_model=LiveReply,
        response_description="It answers.",
        responses={200: response()} | errors(400, 408, 431, 503),
        openapi_extra=is_open,
    )
    not_ready = response(model=NotReadyReply, description="Something is missing; `checks` says what.")
    for path, name in (("/health/ready", "ready"), ("/health", "health")):
        router.add_api_route(
            path,
            ready,
            methods=["GET"],
            name=name,
            summary="Ready to accept work",
            response_model=ReadyReply,
            response_description="Ready to accept work.",
            responses={200: response()} | errors(400, 408, 431) | {503: not_ready},
            openapi_extra=is_open,
        )
    return router


def version_router() -> APIRouter:
    router = APIRouter(tags=["operations"])
    router.add_api_route(
        "/version",
        server_version,
        methods=["GET"],
        summary="The version of the server",
        response_model=VersionReply,
        responses={200: response()} | errors(*READING_ERRORS),
    )
    return router


def metrics_router() -> APIRouter:
    router = APIRouter(tags=["operations"])
    router.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        summary="Prometheus metrics of this process, the queue and every live worker",
        response_class=PlainTextResponse,
        response_description="In the Prometheus text format, or OpenMetrics if `Accept` names it.",
        responses={200: response()} | errors(*READING_ERRORS),
    )
    return router


async def server_version(request: Request) -> Response:
    return json_response(VersionReply(version=request.app.version))


async def live() -> Response:
    """Waits for nothing."""
    return json_response(LiveReply())


async def ready(request: Request) -> Response:
    """200 when this process can accept jobs and return their results. It needs no live worker for that."""
    services = services_of(request)
    findings = await redis_findings(services)
    checks = {
        "redis": await _redis(services, findings),
        "model": await _model(services),
        "api": "draining" if services.draining else "ok",
    }
    failing = [f"{name}: {state}" for name, state in checks.items() if state != "ok"]
    checks["workers"] = await _workers(services)
    warnings = [str(finding) for finding in findings if not finding.breaks]
    if not failing:
        return json_response(ReadyReply(checks=checks, warnings=warnings))
    error = ApiError(503, "not_ready", f"Not ready. {'; '.join(failing)}", retry_after_s=5)
    reply = NotReadyReply(checks=checks, warnings=warnings, error=error.reply().error)
    return json_response(reply, status=503, headers=error.headers)


async def metrics(request: Request) -> Response:
    services = services_of(request)
    collectors = [services.metrics.registry, *await queue_collectors(services)]
    text, media_type = render(collectors, request.headers.get("accept", ""))
    return Response(text, media_type=media_type)


async def _redis(services: Services, findings: list[Finding]) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await services.client.ping()
    except QueueUnavailable as error:
        return error.reason
    except QueueError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    return " ".join(str(finding) for finding in findings if finding.breaks) or "ok"


async def _model(services: Services) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await services.models.current()
    except ApiError:
        return "no worker has reported a model yet"
    except (QueueError, TimeoutError):
        return "unknown"
    return "ok"


async def _workers(services: Services) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            workers = await services.client.workers()
            pause = (await services.client.stats()).pause
    except (QueueError, TimeoutError):
        return "unknown"
    if pause is not None:
        return f"paused by an operator: {pause.reason}"
    if not workers:
        return "none is live"
    return "ok" if any(not worker.draining for worker in workers) else "all are draining"
