"""HEAD for every GET route: the reply of GET without its body (RFC 9110 §9.3.2)."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Runs the GET route of a HEAD request as far as its headers. A stream ends there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # A copy: the server must still see that no body follows.
        inner = {**scope, "method": "GET"}
        answered = asyncio.Event()

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start" and not answered.is_set():
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                answered.set()

        route = asyncio.ensure_future(self._app(inner, receive, send_head))
        head = asyncio.ensure_future(answered.wait())
        try:
            await asyncio.wait((route, head), return_when=asyncio.FIRST_COMPLETED)
            if not route.done():
                route.cancel()
            with suppress(asyncio.CancelledError):
                await route
        finally:
            head.cancel()
            route.cancel()
            scope["route"] = inner.get("route")
