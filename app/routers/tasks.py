"""The native task routes: one for each task of `app.tasks`."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.bodies import read_body
from app.errors import json_response
from app.fields import Schema
from app.follow import event_subscription, stream_own_job, wait_for_result
from app.headers import accepted_image, deadline, last_event_id, prefers_async
from app.openapi import task_operation, task_responses
from app.replies import task_reply
from app.services import services_of
from app.sse import NativeEvents
from app.submission import accepted, open_submission
from app.tasks import TASKS
from app.tasks.base import TaskInput, TaskRoute
from app.tasks.text2image import Text2ImageBody, media_type
from jobs.contract.results import ImagesResult


class BareRoute(APIRoute):
    """Calls the endpoint with the request alone.

    Task routes read their own bodies and have no dependencies, so FastAPI's resolution of both is skipped.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


def tasks_router() -> APIRouter:
    router = APIRouter(tags=["tasks"], route_class=BareRoute)
    for route in TASKS.values():
        router.add_api_route(
            route.path,
            _handler(route),
            methods=["POST"],
            name=str(route.task),
            summary=route.summary,
            response_model=route.reply,
            response_description="The result.",
            responses=task_responses(route),
            openapi_extra=task_operation(route),
        )
    return router


def _handler(route: TaskRoute[Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await answer_task(request, route)

    return answer


async def answer_task(request: Request, route: TaskRoute[Any]) -> Response:
    """Serve a task route: 202 for `Prefer: respond-async`, an event stream, or the result."""
    services = services_of(request)
    later = prefers_async(request)
    deadline_s = deadline(request)
    if not later:
        limit_s = services.settings.request_timeout_s
        deadline_s = min(deadline_s or limit_s, limit_s)
    submission = await open_submission(request, synchronous=not later, deadline_s=deadline_s)
    route.require(submission.model)
    with services.bodies.hold(request) as counted:
        item = TaskInput(route, await read_body(counted, route.body, route.form))
        streams = item.streams and not later
        image_format = None if streams else _accepted_format(request, route, item.body)
        if image_format:
            item = TaskInput(route, item.body.model_copy(update={"format": image_format}))
        tenant = submission.principal.tenant
        # Read before the subscription: a header that is refused must not keep one.
        after = last_event_id(request) if streams else None
        with event_subscription(services, tenant) if streams else nullcontext() as subscription:
            submitted = await submission.submit(item, subscription)
        del item
    if later:
        return await accepted(request, submitted)
    if subscription:
        return stream_own_job(services, submitted, subscription, NativeEvents(), after=after)
    status, result = await wait_for_result(request, services, submitted)
    if image_format and isinstance(result, ImagesResult):
        image = result.images[0]
        headers = {"x-seed": str(image.seed), "x-job-id": status.id}
        return Response(image.data, media_type=media_type(image.data), headers=headers)
    return json_response(task_reply(status, result, seed=submitted.seed))


def _accepted_format(request: Request, route: TaskRoute[Any], body: Schema) -> str | None:
    """Return the image format that `Accept` selects; None for JSON."""
    given = f"image/{body.format}" if isinstance(body, Text2ImageBody) else ""
    own = (given,) if "format" in body.model_fields_set and given else route.image_types
    kind = accepted_image(request, own, getattr(body, "n", 1))
    return kind.removeprefix("image/") if kind else None
