"""/: the playground, one static page without a build step or outside resources."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

_FOLDER = Path(__file__).parent.parent / "playground"
_INDEX = "index.html"


def playground_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", _file(_FOLDER / _INDEX), methods=["GET"], response_model=None)
    for path in sorted(_FOLDER.iterdir()):
        if path.name != _INDEX:
            router.add_api_route(
                f"/playground/{path.name}", _file(path), methods=["GET"], response_model=None
            )
    return router


def _file(path: Path):
    async def answer() -> FileResponse:
        return FileResponse(path)

    return answer
