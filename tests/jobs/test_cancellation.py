"""A task that is told to end does so, whatever the library makes of its cancellation."""

import asyncio
import contextlib
from typing import Any

import pytest

from jobs.client import JobClient
from tests.jobs.samples import make_job


@pytest.fixture
async def forgetful(client: JobClient, monkeypatch: pytest.MonkeyPatch) -> JobClient:
    """A client whose pool loses the cancellation of those who wait for a connection, as redis-py does when it
    comes in the moment in which it looks whether a connection is still good."""
    pool: Any = client._link._client.connection_pool
    obtain = pool.get_connection

    async def obtain_and_forget() -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        return await obtain()

    monkeypatch.setattr(pool, "get_connection", obtain_and_forget)
    return client


async def test_cancelled_waiter_leaves(forgetful: JobClient) -> None:
    submission = await forgetful.submit(make_job())
    await forgetful._link._wires.close()  # so that the next command needs a connection of the pool
    waiting = asyncio.create_task(forgetful.wait(submission.id, None))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=2)
    assert waiting.cancelled()


async def test_waiter_is_told_when_its_time_is_over(forgetful: JobClient) -> None:
    submission = await forgetful.submit(make_job())
    await forgetful._link._wires.close()  # so that the next command needs a connection of the pool
    waiting = asyncio.create_task(forgetful.wait(submission.id, 0.1))
    await asyncio.wait({waiting}, timeout=2)
    assert waiting.done()
    assert isinstance(waiting.exception(), TimeoutError)
    assert (await forgetful.stats()).waiting == 1
