"""Rate limits, counted in Redis for all API processes together. Knows no keys and no HTTP."""

from dataclasses import dataclass

from jobs.redis import scripts
from jobs.redis.transport import AsyncTransport


@dataclass(frozen=True)
class Taken:
    """The result of taking units from a bucket."""

    wait_s: float
    """0 if the units were taken; else the seconds until they are available."""
    left: float
    """Units in the bucket now; below zero after a grant that was larger than the bucket."""


class Quotas:
    """Buckets by name. Each holds up to `per_minute` units and refills evenly."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def take(self, name: str, per_minute: int, amount: int) -> Taken:
        """Take `amount` units, or none; a negative amount gives units back.

        Not retried, because a repetition after a lost reply would charge twice. Raises QueueUnavailable,
        DataLost.
        """
        call = scripts.quota(name=name, per_minute=per_minute, amount=amount)
        wait_s, left = await self._transport.run(call, retry_for_s=0.0)
        return Taken(float(wait_s), float(left))
