"""A cancelled task ends, although redis-py can swallow the cancellation."""

import asyncio
import contextlib
from typing import Any

import pytest

from jobs.client.client import JobClient
from tests.support.sample_jobs import make_job


@pytest.fixture
async def forgetful(client: JobClient, monkeypatch: pytest.MonkeyPatch) -> JobClient:
    """A client whose pool swallows the cancellation of tasks that wait for a connection.

    redis-py does this when the cancellation arrives while it checks the health of a connection.
    """
    pool: Any = client._transport._client.connection_pool
    obtain = pool.get_connection

    async def obtain_and_forget() -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        return await obtain()

    monkeypatch.setattr(pool, "get_connection", obtain_and_forget)
    return client


async def test_cancelled_waiter_leaves(forgetful: JobClient) -> None:
    submission = await forgetful.submit(make_job())
    await forgetful._transport._connections.close()  # so that the next command needs a connection of the pool
    waiting = asyncio.create_task(forgetful.wait(submission.id, None))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=2)
    assert waiting.cancelled()


async def test_waiter_gets_a_timeout_error_in_time(forgetful: JobClient) -> None:
    submission = await forgetful.submit(make_job())
    await forgetful._transport._connections.close()  # so that the next command needs a connection of the pool
    waiting = asyncio.create_task(forgetful.wait(submission.id, 0.1))
    await asyncio.wait({waiting}, timeout=2)
    assert waiting.done()
    assert isinstance(waiting.exception(), TimeoutError)
    assert (await forgetful.stats()).waiting == 1
