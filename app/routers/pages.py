"""The static pages: the playground at /, the reference at /docs, and its OpenAPI document.

The pages need no build step and load nothing from other hosts.
"""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import FileResponse, JSONResponse, Response

from app.proxies import prefix_of

_APP = Path(__file__).parent.parent


def playground_router() -> APIRouter:
    return _pages("playground", "/", "/playground")


def reference_router() -> APIRouter:
    router = _pages("reference", "/docs", "/docs")
    router.add_api_route("/openapi.json", document, methods=["GET"], response_model=None)
    return router


def paths_of(routers: Iterable[APIRouter]) -> frozenset[str]:
    """Return the paths of all pages and their files."""
    routes = [route for router in routers for route in router.routes]
    return frozenset(route.path for route in routes if isinstance(route, APIRoute))


async def document(request: Request) -> Response:
    # Clients that are generated from the document call the address under which they found it.
    address = f"{request.url.scheme}://{request.url.netloc}{prefix_of(request)}"
    return JSONResponse({**request.app.openapi(), "servers": [{"url": address}]})


def _pages(folder: str, index_path: str, files_path: str) -> APIRouter:
    """Serve every file of a folder of `app` below `files_path`, and its index.html at `index_path`."""
    router = APIRouter(include_in_schema=False)
    for file in sorted((_APP / folder).iterdir()):
        path = index_path if file.name == "index.html" else f"{files_path}/{file.name}"
        router.add_api_route(path, _send(file), methods=["GET"], response_model=None)
    return router


def _send(file: Path) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return FileResponse(file)

    return answer
