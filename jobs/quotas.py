"""What a client may use a minute, counted once for all API processes of a queue. Knows no keys, no HTTP."""

from dataclasses import dataclass

from jobs.link import AsyncLink


@dataclass(frozen=True)
class Taken:
    """What became of a wish for some units."""

    wait_s: float
    """0: they were taken. Else nothing was, and they will be there after so long."""
    left: float
    """Units that are there now; below zero after more was lent than the bucket holds."""


class Quotas:
    """Buckets by name. Each holds up to `per_minute` units and refills evenly."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def take(self, name: str, per_minute: int, amount: int) -> Taken:
        """Take `amount`, or nothing; a negative amount is given back. Raises QueueUnavailable, DataLost.

        Asked once: a repetition after a lost answer would be charged twice.
        """
        wait_s, left = await self._link.run("quota", name, per_minute, amount, patience_s=0.0)
        return Taken(float(wait_s), float(left))
