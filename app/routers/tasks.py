"""The native task routes: one handler a row of the table in `app.tasks`."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.openapi import task_operation
from app.running import answer_task
from app.tasks import TASK_ROUTES, TaskRoute


class _BareRoute(APIRoute):
    """Hands the request to the endpoint as it is: task routes read their own bodies, and have no dependencies
    that FastAPI would have to look for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


def tasks_router() -> APIRouter:
    router = APIRouter(tags=["tasks"], route_class=_BareRoute)
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
