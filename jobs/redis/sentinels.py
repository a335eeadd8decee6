"""Asks all Sentinels for the primary at the same time, and believes the newest configuration."""

import asyncio
from typing import Any, Final

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import ConnectionError, TimeoutError

SENTINEL_TIMEOUT_S: Final = 1.0
_OTHERS_S: Final = 0.2
"""Time for the other Sentinels after the first answer."""


class AllSentinels(Sentinel):
    """redis-py asks one Sentinel after the other, so each one on a lost host costs a timeout.

    It also takes the first answer. Soon after a failover that can be the old primary.
    """

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's host and port. Raises MasterNotFoundError."""
        pending = {asyncio.ensure_future(sentinel.sentinel_masters()) for sentinel in self.sentinels}
        newest: dict[str, Any] | None = None
        errors: list[BaseException] = []
        try:
            while pending:
                timeout_s = None if newest is None else _OTHERS_S
                done, pending = await asyncio.wait(
                    pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    if (error := task.exception()) is not None:
                        errors.append(error)
                        continue
                    states: Any = task.result()
                    state = states.get(service_name)
                    if state and self.check_master_state(state, service_name) and _is_newer(state, newest):
                        newest = state
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if newest is None:
            for error in errors:
                if not isinstance(error, (ConnectionError, TimeoutError)):
                    raise error  # a server that is no Sentinel
            reasons = "; ".join(map(repr, errors))
            raise MasterNotFoundError(f"No Sentinel names a primary of {service_name!r}: {reasons}")
        return newest["ip"], newest["port"]


def _is_newer(state: dict[str, Any], than: dict[str, Any] | None) -> bool:
    return than is None or state["config-epoch"] > than["config-epoch"]
