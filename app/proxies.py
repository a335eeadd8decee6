"""What a reverse proxy says about a request: the client's address, the scheme, and the path of the server.

A server below a path, such as https://host/rudolph/, knows it from RUDOLPH_ROOT_PATH, or from
X-Forwarded-Prefix of a trusted proxy. The proxy may remove the path or leave it. The URLs of replies have it.
"""

import re
from typing import Any, cast

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX_PATTERN = r"(/[A-Za-z0-9._~-]+)*"
_FORWARDED = b"x-forwarded-prefix"


class TrustedProxies(ProxyHeadersMiddleware):
    """uvicorn's own middleware, which replaces the peer's address, with X-Forwarded-Prefix in addition."""

    def __init__(self, app: ASGIApp, trusted_hosts: str) -> None:
        super().__init__(cast(Any, app), trusted_hosts)  # uvicorn has ASGI types of its own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        client = scope.get("client")
        if scope["type"] == "http" and client and client[0] in self.trusted_hosts:
            values = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED]
            prefix = values[-1].strip().rstrip("/") if values else ""
            if prefix and re.fullmatch(PREFIX_PATTERN, prefix):
                scope["forwarded_prefix"] = prefix
        await super().__call__(scope, receive, send)  # pyright: ignore[reportArgumentType]


class PrefixMiddleware:
    """Removes the server's path from the request's path."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = scope["prefix"] = scope.get("forwarded_prefix", self._root_path)
            path: str = scope["path"]
            if prefix and (path == prefix or path.startswith(f"{prefix}/")):
                scope["path"] = path[len(prefix) :] or "/"
        await self._app(scope, receive, send)


def prefix_of(request: Request) -> str:
    """Return the path of the server without a slash at its end; empty at the root of a host."""
    return request.scope["prefix"]
