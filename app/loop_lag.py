"""Measures how late the timers of the event loop are: what every request of the process waits for too."""

import asyncio

from prometheus_client import Histogram

EVERY_S = 0.25


async def observe_lag(lag: Histogram) -> None:
    """Observe the delay of a timer, in seconds, until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        lag.observe(max(loop.time() - due_s, 0.0))
