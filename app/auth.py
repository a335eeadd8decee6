"""Authentication by API keys. With keys set, every route but /health/* and the static pages needs one.

Keys are stored as SHA-256 digests only.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError
from app.quotas import NO_QUOTA, Quota, QuotaMeter

OPEN_PATH = "/health"
DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class Principal:
    """The client that a key identifies. A tenant cannot see the jobs of another one."""

    name: str
    tenant: str
    quota: Quota = NO_QUOTA


ANONYMOUS = Principal("anonymous", DEFAULT_TENANT)


def principal_of(request: Request) -> Principal:
    return request.scope["principal"]


@dataclass(frozen=True)
class KeyRing:
    """The client of each key, by the key's digest. Empty: every client is the default tenant."""

    principals: dict[bytes, Principal] = field(default_factory=dict[bytes, Principal])

    @property
    def closed(self) -> bool:
        return bool(self.principals)

    def find(self, key: str) -> Principal | None:
        """Return the client of this key, or None.

        Compares with every digest, so that the time does not depend on which one matches.
        """
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        found: Principal | None = None
        for known, principal in self.principals.items():
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def is_open_path(path: str) -> bool:
    """Return whether a path needs no key: the health checks."""
    return path == OPEN_PATH or path.startswith(f"{OPEN_PATH}/")


class AuthMiddleware:
    """Refuses requests without a known key, charges each request, and puts the principal on the scope."""

    def __init__(
        self, app: ASGIApp, keys: KeyRing, meter: QuotaMeter, open_paths: frozenset[str] = frozenset()
    ) -> None:
        """`open_paths` need no key: pages that hold no data, because a browser sends no key for a page."""
        self._app = app
        self._keys = keys
        self._meter = meter
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._keys.closed or self._is_open(scope):
            scope["principal"] = ANONYMOUS
            await self._app(scope, receive, send)
            return
        try:
            principal = self._identify(Headers(scope=scope))
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        scope["principal"] = principal
        structlog.contextvars.bind_contextvars(tenant=principal.tenant)

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._meter.headers(principal.quota))
            await send(message)

        try:
            await self._meter.charge(principal.quota, "requests", 1)
        except ApiError as error:
            await error.response()(scope, receive, send_with_limits)
            return
        await self._app(scope, receive, send_with_limits)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        # POST / is a task of the hub, not a page.
        return is_open_path(path) or (path in self._open_paths and scope["method"] != "POST")

    def _identify(self, headers: Headers) -> Principal:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        challenge = {"WWW-Authenticate": 'Bearer realm="rudolph"'}
        if scheme.lower() != "bearer" or not key.strip():
            message = "This server needs an API key. Send it as `Authorization: Bearer <key>`."
            raise ApiError(401, "missing_api_key", message, param="Authorization", headers=challenge)
        principal = self._keys.find(key.strip())
        if principal is None:
            message = "This API key is unknown. Check it, or ask the operator for one."
            raise ApiError(401, "invalid_api_key", message, param="Authorization", headers=challenge)
        return principal
