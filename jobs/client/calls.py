"""Base of the parts of the client: runs scripts with one retry time."""

from collections import Counter

from jobs.contract.errors import JobNotFound
from jobs.redis.scripts import Call, Reply
from jobs.redis.transport import AsyncTransport

RETRY_FOR_S = 3.0


class ScriptCalls:
    """Base of the client's parts: one transport, one retry time."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self.unreadable = Counter[str]()
        """Entries that this process could not read and passed over, by kind: event, heartbeat, record."""

    async def redis_time_s(self) -> float:
        """Return the clock of Redis in seconds."""
        seconds, microseconds = await self._transport.command("TIME")
        return int(seconds) + int(microseconds) / 1e6

    async def _run(self, call: Call[Reply]) -> Reply:
        return await self._transport.run(call, retry_for_s=RETRY_FOR_S)


def found(job_id: str, reply: Reply | None) -> Reply:
    """Return the reply. Raises JobNotFound if there is none."""
    if reply is None:
        raise JobNotFound(f"There is no job {job_id}. Its id is wrong, or its result has expired.")
    return reply
