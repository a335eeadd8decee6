"""Refuses what a page of another site may send through a browser: foreign host names and foreign origins.

A browser on the network of the server reaches it without a key, or through a proxy that adds one. Two attacks
follow. A page may post a form across sites. Or its own host name resolves to the address of the server (DNS
rebinding), and the browser then lets it read every reply.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth import is_open_path
from app.errors import ApiError

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""They change nothing, and the same-origin policy keeps their replies from other origins."""
ANY = "*"


class OriginMiddleware:
    """Checks Host, Origin and Sec-Fetch-Site before a request is authenticated."""

    def __init__(
        self, app: ASGIApp, *, hosts: Iterable[str], origins: Iterable[str], checks_hosts: bool
    ) -> None:
        """hosts: names of the server besides its addresses and localhost; `*.name` for those below one.

        origins: origins whose pages may send requests. checks_hosts: refuse all other names.
        """
        self._app = app
        self._hosts = frozenset(_host_name(host) or host for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._checks_hosts = checks_hosts and ANY not in self._hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["method"], scope["path"], Headers(scope=scope))
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        # Probes of orchestrators send any host; the reply of a health check is no secret.
        if self._checks_hosts and not is_open_path(path) and not self._is_own(host):
            raise ApiError(
                403,
                "host_not_allowed",
                f"This server does not go by the name {host}. Use its address, or add the name to "
                "RUDOLPH_ALLOWED_HOSTS.",
                param="Host",
            )
        if method not in SAFE_METHODS and self._is_foreign(headers, host):
            raise ApiError(
                403,
                "origin_not_allowed",
                "A page of another origin sent this request. Add its origin to RUDOLPH_CORS_ORIGINS to "
                "allow it.",
                param="Origin",
            )

    def _is_own(self, host: str) -> bool:
        if not host:  # HTTP/1.0; no browser omits it
            return True
        name = _host_name(host)
        if name is None:
            return False
        if name in self._hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        parents = name.split(".")[1:]
        if any("*." + ".".join(parents[start:]) in self._hosts for start in range(len(parents))):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # an address cannot be resolved to another one

    def _is_foreign(self, headers: Headers, host: str) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and (ANY in self._origins or origin.lower() in self._origins):
            return False
        if site is not None:
            # Set by the browser. It knows the address in its address bar, which a proxy may replace in Host.
            return site not in ("same-origin", "none")
        # Without both, the client is no browser. Browsers omit `Sec-Fetch-Site` over plain HTTP.
        return origin is not None and origin.lower().partition("://")[2] != host.lower()


def _host_name(host: str) -> str | None:
    """Return the name in a Host header, without port, brackets and final dot; None for an invalid one."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name.rstrip(".") if name else None
