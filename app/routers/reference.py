"""/docs: the OpenAPI document as a page that needs nothing from outside, and the document itself."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from app.errors import json_response

_FOLDER = Path(__file__).parent.parent / "reference"
_FILES = {"": "index.html", "/reference.js": "reference.js", "/reference.css": "reference.css"}


def reference_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for suffix, name in _FILES.items():
        router.add_api_route(f"/docs{suffix}", _file(name), methods=["GET"], response_model=None)
    router.add_api_route("/openapi.json", document, methods=["GET"], response_model=None)
    return router


async def document(request: Request) -> Response:
    return json_response(request.app.openapi())


def _file(name: str):
    async def answer() -> FileResponse:
        return FileResponse(_FOLDER / name)

    return answer
