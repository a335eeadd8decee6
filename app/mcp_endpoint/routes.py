"""POST `/mcp`: the official SDK speaks the protocol, and each call of a tool is a job.

Every request is complete and is answered with JSON: there are no sessions that another API process would
not know. Keys, quotas, hosts and limits of bodies are those of all routes.
"""

import json
from importlib.metadata import version
from typing import Any, cast

from fastapi import APIRouter, Request
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.bodies import check_body, check_size
from app.errors import ApiError, ClientGone, api_error_of
from app.field_errors import FieldNames
from app.mcp_endpoint.tools import TOOLS, ModelTool, find_tool
from app.openai.jobs import open_request, submit
from app.openai.rendering import Rendering, rendering_of
from app.openai.replies import result_warnings
from app.services import services_of
from app.tasks.base import base64_text
from jobs.contract.errors import QueueError
from jobs.contract.requests import Task
from jobs.contract.results import ImagesResult, Result

PATH = "/mcp"
INSTRUCTIONS = "RuDOLPH draws small images for Russian texts, describes images in Russian, and compares both."
Context = ServerRequestContext[Any]


def mcp_router(max_body_bytes: int) -> tuple[APIRouter, StreamableHTTPSessionManager]:
    """Return the route, and the manager whose `run` must be open while it serves."""
    server = Server(
        "rudolph",
        version=version("rudolph-server"),
        title="RuDOLPH",
        instructions=INSTRUCTIONS,
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
    )
    manager = StreamableHTTPSessionManager(
        server, json_response=True, stateless=True, max_request_body_size=max_body_bytes
    )

    async def answer(request: Request) -> Response:
        return _Reply(manager, request)

    router = APIRouter()
    router.add_api_route(PATH, answer, methods=["POST"], include_in_schema=False, response_model=None)
    return router, manager


class _Reply(Response):
    """The reply of the SDK, which is an ASGI application."""

    def __init__(self, manager: StreamableHTTPSessionManager, request: Request) -> None:
        super().__init__()
        self._manager = manager
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with services_of(self._request).bodies.hold(self._request) as counted:
            try:
                body = await counted.body()
            except ClientDisconnect:
                raise ClientGone from None
            # The SDK would parse any number of values.
            check_size(body)
            pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

            async def replay() -> Message:
                return pending.pop() if pending else await receive()

            await self._manager.handle_request(scope, replay, send)


async def _list_tools(context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
    hints = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
    return ListToolsResult(
        tools=[
            Tool(
                name=tool.name,
                title=tool.title,
                description=tool.description,
                input_schema=tool.input_schema,
                annotations=hints,
            )
            for tool in TOOLS.values()
        ]
    )


async def _call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
    """Return the result of a tool; an error as a result that the assistant can read."""
    request = cast(Request, context.request)
    try:
        return await _run(request, find_tool(params.name), params.arguments or {})
    except (ApiError, QueueError) as error:
        body = api_error_of(error).reply().error
        text = TextContent(type="text", text=body.message)
        return CallToolResult(content=[text], structured_content=body.model_dump(), is_error=True)
    except ClientGone:
        return CallToolResult(content=[], is_error=True)


async def _run(request: Request, tool: ModelTool, arguments: dict[str, Any]) -> CallToolResult:
    submission = await open_request(request, FieldNames())
    call = tool.call(check_body(tool.arguments, arguments), submission.model)
    fields, rendering = call.fields, None
    if call.task is Task.TEXT2IMAGE:
        strict = submission.services.settings.strict_size
        rendering = rendering_of(call.size, None, None, fields["n"], submission.model, strict=strict)
        fields = {**fields, "format": rendering.job_format}
    job = await submit(request, submission, call.task, fields, streams=False)
    _, result = await job.result(request)
    found = tool.content(result)
    if warnings := result_warnings(result, submission.names.of):
        found["warnings"] = [warning.model_dump() for warning in warnings]
    images = [] if rendering is None else await _images(request, result, rendering)
    text = TextContent(type="text", text=json.dumps(found, ensure_ascii=False))
    return CallToolResult(content=[*images, text], structured_content=found)


async def _images(request: Request, result: Result, rendering: Rendering) -> list[ContentBlock]:
    assert isinstance(result, ImagesResult)
    renderer = services_of(request).renderer
    files = [await renderer.render(image.data, rendering) for image in result.images]
    return [
        ImageContent(type="image", data=base64_text(file), mime_type=rendering.media_type) for file in files
    ]
