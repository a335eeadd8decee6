"""Who is asking: API keys, and what each may use a minute.

Keys are kept as SHA-256 digests only. With keys set, every route but /health/* is closed. Quotas are counted
in the queue, once for all API processes; while it cannot be reached each process goes on from what it knew.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError
from app.settings import Settings
from jobs.client import JobClient
from jobs.errors import QueueError

OPEN_PREFIX = "/health/"
DEFAULT_TENANT = "default"


class Bucket:
    """A token bucket: holds up to `per_minute`, refills evenly."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._tokens = float(per_minute)
        self._seen_s = time.monotonic()

    def take(self, amount: int) -> float:
        """Take `amount` and return 0, or take nothing and return the seconds until it would be there.

        More than the bucket holds is granted once it is full, and leaves a debt. A negative amount is given
        back.
        """
        self._refill()
        wanted = min(amount, self.per_minute)
        if self._tokens < wanted:
            return (wanted - self._tokens) * 60 / self.per_minute
        self._tokens = min(self._tokens - amount, float(self.per_minute))
        return 0.0

    def adopt(self, tokens: float) -> None:
        """All processes together have left so many."""
        self._tokens, self._seen_s = tokens, time.monotonic()

    @property
    def remaining(self) -> int:
        self._refill()
        return max(int(self._tokens), 0)

    @property
    def full_in_s(self) -> int:
        self._refill()
        return int(-(-(self.per_minute - self._tokens) * 60 // self.per_minute))

    def _refill(self) -> None:
        now_s = time.monotonic()
        self._tokens = min(
            self._tokens + (now_s - self._seen_s) * self.per_minute / 60, float(self.per_minute)
        )
        self._seen_s = now_s


@dataclass(frozen=True)
class Principal:
    """Whoever a key stands for. Jobs of one tenant are invisible to the others."""

    name: str
    tenant: str
    requests: Bucket | None = None
    candidates: Bucket | None = None
    quota_id: str = ""
    """By which all API processes know the quotas of this key."""

    async def charge_request(self, queue: Callable[[], JobClient]) -> None:
        await self._charge(queue, self.requests, "requests", 1)

    async def charge_candidates(self, queue: Callable[[], JobClient], amount: int) -> None:
        await self._charge(queue, self.candidates, "candidates", amount)

    async def refund_candidates(self, queue: Callable[[], JobClient], amount: int) -> None:
        if self.candidates:
            await self._take(queue, self.candidates, "candidates", -amount)

    def limit_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for kind, bucket in (("requests", self.requests), ("candidates", self.candidates)):
            if bucket:
                headers[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{kind}"] = str(bucket.remaining)
                headers[f"x-ratelimit-reset-{kind}"] = f"{bucket.full_in_s}s"
        return headers

    async def _charge(
        self, queue: Callable[[], JobClient], bucket: Bucket | None, what: str, amount: int
    ) -> None:
        wait_s = await self._take(queue, bucket, what, amount) if bucket else 0.0
        if bucket and wait_s:
            message = (
                f"This key may use {bucket.per_minute} {what} a minute. Wait for the time in Retry-After."
            )
            raise ApiError(429, f"{what.removesuffix('s')}_quota_exceeded", message, retry_after_s=wait_s)

    async def _take(self, queue: Callable[[], JobClient], bucket: Bucket, what: str, amount: int) -> float:
        try:
            taken = await queue().quotas.take(f"{self.quota_id}:{what}", bucket.per_minute, amount)
        except QueueError:
            return bucket.take(amount)
        bucket.adopt(taken.left)
        return taken.wait_s


ANONYMOUS = Principal("anonymous", DEFAULT_TENANT)


@dataclass(frozen=True)
class KeyRing:
    """Digest of each key → whom it stands for. Empty: everyone is the default tenant."""

    principals: dict[bytes, Principal] = field(default_factory=dict[bytes, Principal])

    @property
    def closed(self) -> bool:
        return bool(self.principals)

    def find(self, key: str) -> Principal | None:
        """Compare with every digest, so that the time taken tells nothing about where a match was."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        found: Principal | None = None
        for known, principal in self.principals.items():
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def load_keys(settings: Settings) -> KeyRing:
    """Keys from the environment (`name=key,…`, plain) and from the file (digests only).

    Raises ValueError, which names the entry and never the key.
    """
    principals: dict[bytes, Principal] = {}
    if settings.api_keys:
        principals.update(_from_pairs(settings.api_keys.get_secret_value().split(",")))
    if settings.api_keys_file:
        principals.update(_from_file(settings.api_keys_file))
    return KeyRing(principals)


def _from_pairs(pairs: Iterable[str]) -> Iterable[tuple[bytes, Principal]]:
    for place, pair in enumerate(part.strip() for part in pairs if part.strip()):
        name, separator, key = pair.partition("=")
        if not separator or not name or len(key) < 16:
            raise ValueError(
                f"RUDOLPH_API_KEYS entry {place}: write name=key with a key of 16 characters or more"
            )
        yield hashlib.sha256(key.encode()).digest(), Principal(name, name)


def _from_file(path: Path) -> Iterable[tuple[bytes, Principal]]:
    try:
        entries = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON: {error}") from error
    for place, entry in enumerate(entries):
        try:
            digest = bytes.fromhex(entry["sha256"])
            name = str(entry["name"])
            if len(digest) != hashlib.sha256().digest_size:
                raise ValueError("sha256 is not 64 hexadecimal digits")
            yield (
                digest,
                Principal(
                    name,
                    str(entry.get("tenant", name)),
                    _bucket(entry, "requests"),
                    _bucket(entry, "candidates"),
                    hashlib.sha256(digest).hexdigest()[:32],
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: entry {place} needs `name` and `sha256` (64 hex digits): {error}"
            ) from error


def _bucket(entry: dict[str, object], kind: str) -> Bucket | None:
    per_minute = entry.get(f"{kind}_per_minute")
    if per_minute is None:
        return None
    if not isinstance(per_minute, int) or per_minute < 1:
        raise ValueError(f"{kind}_per_minute must be a whole number from 1")
    return Bucket(per_minute)


class AuthMiddleware:
    """Closes every route but health when keys are set, counts requests, puts the principal on the scope."""

    def __init__(self, app: ASGIApp, keys: KeyRing, queue: Callable[[], JobClient]) -> None:
        """`queue` gives the connected client, or raises QueueUnavailable."""
        self._app = app
        self._keys = keys
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OPEN_PREFIX) or not self._keys.closed:
            scope["principal"] = ANONYMOUS
            await self._app(scope, receive, send)
            return
        try:
            principal = self._identify(Headers(scope=scope))
            scope["principal"] = principal
            await principal.charge_request(self._queue)
        except ApiError as error:
            found: Principal | None = scope.get("principal")
            error.headers.update(found.limit_headers() if found else {})
            await error.response()(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(principal.limit_headers())
            await send(message)

        await self._app(scope, receive, send_with_limits)

    def _identify(self, headers: Headers) -> Principal:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        challenge = {"WWW-Authenticate": 'Bearer realm="rudolph"'}
        if scheme.lower() != "bearer" or not key.strip():
            message = "This server needs an API key. Send it as `Authorization: Bearer <key>`."
            raise ApiError(401, "missing_api_key", message, param="Authorization", headers=challenge)
        principal = self._keys.find(key.strip())
        if principal is None:
            message = "This API key is not known here. Check it, or ask the operator for one."
            raise ApiError(401, "invalid_api_key", message, param="Authorization", headers=challenge)
        return principal
