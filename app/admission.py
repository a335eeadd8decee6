"""What has to be true before a request costs anything: a model is known, the queue has room, memory is left.

Also reads the headers that steer a request: Idempotency-Key, Prefer, x-deadline-s.
"""

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.types import Message

from app.errors import ApiError, invalid
from jobs.announcements import ModelInfo
from jobs.client import JobClient

MAX_RANDOM_SEED = 2**53
"""Seeds that the server draws stay exact in JavaScript, so that a browser can send one back."""

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
NO_WORKER_RETRY_S = 10
DEADLINE_PATTERN = (
    r"^(0\.[1-9][0-9]{0,5}|([1-9][0-9]{0,3}|[1-7][0-9]{4}|8[0-5][0-9]{3}|86[0-3][0-9]{2})(\.[0-9]{1,6})?"
    r"|86400)$"
)
"""A number from 0.1 to 86400, in the one way that a header may write it."""


class ModelWatch:
    """The model that requests are checked against: of a live worker, or else the last one seen.

    With no live worker, requests are still queued when a model was seen before (a worker restarting is no
    reason to refuse work; the deadline bounds the wait). Before the first worker ever came there is nothing
    to check against: 503.
    """

    def __init__(self) -> None:
        self._last: ModelInfo | None = None

    async def current(self, client: JobClient) -> ModelInfo:
        found = await client.model_info()
        self._last = found or self._last
        if self._last is None:
            message = (
                "No worker has reported to this server yet. Start one with `rudolph worker` and try again."
            )
            raise ApiError(503, "no_worker", message, retry_after_s=NO_WORKER_RETRY_S)
        return self._last


class ByteBudget:
    """Bytes of request bodies that may be in memory at one time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0

    @contextmanager
    def hold(self, request: Request) -> Generator[Request]:
        """The same request, with its body counted as it comes, until the block ends.

        What a request only announces costs nothing, so that slow senders do not lock the others out.
        Raises ApiError 503, here or while the body is read, when the bytes would be too many.
        """
        self._check(announced_bytes(request))
        own = 0

        async def counted() -> Message:
            nonlocal own
            message = await request.receive()
            size = len(message.get("body", b""))
            self._check(size, own=own)
            self._held += size
            own += size
            return message

        try:
            yield Request(request.scope, counted)
        finally:
            self._held -= own

    def _check(self, num_bytes: int, *, own: int = 0) -> None:
        # One request alone is never too much: its own limit bounds it.
        if self._held > own and self._held + num_bytes > self._max_bytes:
            message = "The server is reading as many requests as it has memory for. Try again soon."
            raise ApiError(503, "server_busy", message, retry_after_s=2)


class StreamSlots:
    """How many event streams are open, in all and by tenant."""

    def __init__(self, max_streams: int, max_per_tenant: int) -> None:
        self._max_streams = max_streams
        self._max_per_tenant = max_per_tenant
        self._open: Counter[str] = Counter()

    def acquire(self, tenant: str) -> None:
        if self._open[tenant] >= self._max_per_tenant:
            message = f"This tenant has {self._max_per_tenant} event streams open. Close some."
            raise ApiError(429, "too_many_streams", message, retry_after_s=5)
        if self._open.total() >= self._max_streams:
            raise ApiError(
                503, "too_many_streams", "All event streams are taken. Try again soon.", retry_after_s=5
            )
        self._open[tenant] += 1

    def release(self, tenant: str) -> None:
        self._open[tenant] -= 1
        if self._open[tenant] <= 0:
            del self._open[tenant]


def announced_bytes(request: Request) -> int:
    """Size of the body as its header says; 0 when it does not say."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0


def idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        message = "Idempotency-Key must be 1–255 visible ASCII characters, such as a UUID."
        raise ApiError(400, "invalid_idempotency_key", message, param="Idempotency-Key")
    return key


def prefers_async(request: Request) -> bool:
    """`Prefer: respond-async`, RFC 7240; other preferences are not ours."""
    wishes = ",".join(request.headers.getlist("prefer")).split(",")
    return any(wish.partition(";")[0].strip().lower() == "respond-async" for wish in wishes)


def deadline_header(request: Request) -> float | None:
    """Seconds from `x-deadline-s`, or None."""
    text = request.headers.get("x-deadline-s")
    if text is None:
        return None
    if not re.fullmatch(DEADLINE_PATTERN, text):
        raise invalid("x-deadline-s must be a number of seconds between 0.1 and 86400.", param="x-deadline-s")
    return float(text)


def seed_for(asked: int | None, tenant: str, key: str | None) -> int:
    """The seed asked for; else one drawn at random, or, with an idempotency key, one that follows from the
    key.

    A retry with the same key has to be the same request, so it must not draw another seed.
    """
    if asked is not None:
        return asked
    if key is None:
        return secrets.randbelow(MAX_RANDOM_SEED)
    digest = hashlib.sha256(f"{tenant}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % MAX_RANDOM_SEED
