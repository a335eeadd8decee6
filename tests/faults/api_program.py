"""A process that submits one job and gets SIGKILL at a chosen step of it.

python -m tests.faults.api_program <url> <queue> <key> <step>; prints `ack <id>` once the job is accepted.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from jobs.client.client import JobClient
from jobs.redis import scripts
from jobs.redis.retry import Send
from jobs.redis.transport import AsyncTransport
from tests.support.sample_jobs import make_job

STEPS = ("before connecting", "before sending", "half sent", "after sending", "after the reply", "never")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: str) -> None:
    """Put the end where it belongs in the exchange with the server."""

    async def exchange(self: AsyncTransport, sending: Send) -> tuple[Any, int]:
        if step == "before connecting":
            die()
        async with self._connections.acquire() as wire:
            if step == "before sending":
                die()
            packed = b"".join(wire.pack_command(*sending.command))
            if step == "half sent":
                wire._writer.write(packed[: len(packed) // 2])
                await wire._writer.drain()
                die()
            wire._writer.write(packed)
            await wire._writer.drain()
            if step == "after sending":
                die()
            reply = await wire.read_response()
            if step == "after the reply":
                die()
            return reply, 0

    AsyncTransport._send = exchange  # type: ignore[method-assign, assignment]


async def main(url: str, queue: str, key: str, step: str) -> None:
    client = await JobClient.connect(url, queue=queue)
    await client._transport.run(scripts.stats(), retry_for_s=1.0)
    if step != "never":
        # The script must be known, or the first exchange would only learn that it is not.
        await client._transport.command("SCRIPT", "LOAD", _submit_text())
        arm(step)
    submission = await client.submit(make_job("запрос", idempotency_key=key))
    print(f"ack {submission.id}", flush=True)
    os._exit(0)


def _submit_text() -> str:
    return scripts.load_scripts()["submit"].text


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
