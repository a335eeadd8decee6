"""The native task routes: one handler a row of the table in `app.tasks`."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.openapi import task_operation
from app.running import answer_task
from app.tasks import TASK_ROUTES, TaskRoute


def tasks_router() -> APIRouter:
    router = APIRouter(tags=["tasks"])
    for route in TASK_ROUTES:
        router.add_api_route(
            route.path,
            _handler(route),
            methods=["POST"],
            name=str(route.task),
            summary=route.summary,
            response_model=None,
            openapi_extra=task_operation(route),
        )
    return router


def _handler(route: TaskRoute) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await answer_task(request, route)

    return answer
