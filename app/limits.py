"""Limits that all requests of this process share: bytes of bodies in memory, and open event streams."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.types import Message

from app.errors import ApiError
from app.headers import announced_bytes


class ByteBudget:
    """Bytes of request bodies that may be in memory at one time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0

    @contextmanager
    def hold(self, request: Request) -> Generator[Request]:
        """Yield the request with its body counted as it arrives. The end of the block frees the bytes.

        Announced bytes are checked but not reserved, so that slow senders do not block other clients.
        Raises ApiError 503, here or while the body is read, when the bytes exceed the budget.
        """
        self._check(announced_bytes(request))
        own = 0

        async def receive() -> Message:
            nonlocal own
            message = await request.receive()
            size = len(message.get("body", b""))
            self._check(size, own=own)
            self._held += size
            own += size
            return message

        try:
            yield Request(request.scope, receive)
        finally:
            self._held -= own

    def _check(self, num_bytes: int, *, own: int = 0) -> None:
        # One request alone is never refused here: its own limit bounds it.
        if self._held > own and self._held + num_bytes > self._max_bytes:
            message = "The memory for request bodies is full. Try again soon."
            raise ApiError(503, "server_busy", message, retry_after_s=2)


class StreamSlots:
    """Counts open event streams, in total and by tenant."""

    def __init__(self, max_streams: int, max_per_tenant: int) -> None:
        self._max_streams = max_streams
        self._max_per_tenant = max_per_tenant
        self._open: Counter[str] = Counter()

    def acquire(self, tenant: str) -> None:
        """Count one more stream. Raises ApiError 429 or 503 at the limit."""
        if self._open[tenant] >= self._max_per_tenant:
            message = f"This tenant has {self._max_per_tenant} event streams open. Close some."
            raise ApiError(429, "too_many_streams", message, retry_after_s=5)
        if self._open.total() >= self._max_streams:
            message = "All event streams are in use. Try again soon."
            raise ApiError(503, "too_many_streams", message, retry_after_s=5)
        self._open[tenant] += 1

    def release(self, tenant: str) -> None:
        self._open[tenant] -= 1
        if self._open[tenant] <= 0:
            del self._open[tenant]
