"""Quotas of API keys: token buckets, counted in Redis for all API processes together.

While Redis cannot be reached, each process counts alone, from the last values that it read.
"""

import time
from dataclasses import dataclass
from typing import Literal

from app.errors import ApiError
from app.queue_connection import QueueConnection
from jobs.contract.errors import QueueError

Unit = Literal["requests", "candidates"]


class Bucket:
    """A token bucket: holds up to `per_minute` tokens and refills evenly."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._tokens = float(per_minute)
        self._seen_s = time.monotonic()

    def take(self, amount: int) -> float:
        """Take `amount` and return 0, or take nothing and return the seconds until it is available.

        An amount above the capacity is granted once the bucket is full, and leaves a debt. A negative amount
        is given back.
        """
        self._refill()
        needed = min(amount, self.per_minute)
        if self._tokens < needed:
            return (needed - self._tokens) * 60 / self.per_minute
        self._tokens = min(self._tokens - amount, float(self.per_minute))
        return 0.0

    def adopt(self, tokens: float) -> None:
        """Set the tokens that are left for all processes together."""
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
class Quota:
    """The limits of a key. `id` is its name in Redis; None: no limit."""

    id: str = ""
    requests_per_minute: int | None = None
    candidates_per_minute: int | None = None

    def per_minute(self, unit: Unit) -> int | None:
        return self.requests_per_minute if unit == "requests" else self.candidates_per_minute


NO_QUOTA = Quota()


class QuotaMeter:
    """Charges quotas. Holds the local copy of every bucket."""

    def __init__(self, queue: QueueConnection) -> None:
        self._queue = queue
        self._buckets: dict[tuple[str, Unit], Bucket] = {}

    async def charge(self, quota: Quota, unit: Unit, amount: int) -> None:
        """Take `amount` units. Raises ApiError 429 when the key has fewer left."""
        bucket = self._bucket(quota, unit)
        wait_s = await self._take(quota, unit, bucket, amount) if bucket else 0.0
        if bucket and wait_s:
            message = (
                f"This key may use {bucket.per_minute} {unit} a minute. Wait for the time in Retry-After."
            )
            raise ApiError(429, f"{unit.removesuffix('s')}_quota_exceeded", message, retry_after_s=wait_s)

    async def refund(self, quota: Quota, unit: Unit, amount: int) -> None:
        bucket = self._bucket(quota, unit)
        if bucket:
            await self._take(quota, unit, bucket, -amount)

    def headers(self, quota: Quota) -> dict[str, str]:
        """Return the headers that show the client its limits."""
        headers: dict[str, str] = {}
        units: tuple[Unit, ...] = ("requests", "candidates")
        for unit in units:
            bucket = self._bucket(quota, unit)
            if bucket:
                headers[f"x-ratelimit-limit-{unit}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{unit}"] = str(bucket.remaining)
                headers[f"x-ratelimit-reset-{unit}"] = f"{bucket.full_in_s}s"
        return headers

    def _bucket(self, quota: Quota, unit: Unit) -> Bucket | None:
        per_minute = quota.per_minute(unit)
        if per_minute is None:
            return None
        key = quota.id, unit
        if key not in self._buckets:
            self._buckets[key] = Bucket(per_minute)
        return self._buckets[key]

    async def _take(self, quota: Quota, unit: Unit, bucket: Bucket, amount: int) -> float:
        try:
            taken = await self._queue.client.quotas.take(f"{quota.id}:{unit}", bucket.per_minute, amount)
        except QueueError:
            return bucket.take(amount)
        bucket.adopt(taken.left)
        return taken.wait_s
