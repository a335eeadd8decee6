"""What a client knows of the workers, while releases of two formats run at a time."""

import asyncio
from typing import Any

import pytest

from jobs.client.client import JobClient
from jobs.contract import codec
from jobs.redis import scripts
from jobs.redis.transport import SyncTransport
from tests.support.sample_jobs import make_job, make_worker


def _beat(transport: SyncTransport, worker: str, info: bytes) -> None:
    transport.run(scripts.heartbeat(worker=worker, info=info, ttl_s=10, model=""), retry_for_s=1)


@pytest.mark.parametrize("info", [b"W\x02\x80", b"", b"\xff\xfe", b"W\x01\x93\x01\x02\x03"])
async def test_a_heartbeat_that_cannot_be_read_hides_no_other_worker(
    client: JobClient, transport: SyncTransport, caplog: pytest.LogCaptureFixture, info: bytes
) -> None:
    _beat(transport, "newer", info)
    assert await client.workers() == []
    assert await client.model_info() is None
    _beat(transport, "known", codec.encode_worker(make_worker("known")))
    for _ in range(3):
        assert [worker.id for worker in await client.workers()] == ["known"]
    assert caplog.text.count("The heartbeat of worker newer cannot be read") == 1
    assert (await client.stats()).workers_live == 2


async def test_a_tenant_of_a_queue_too_long_to_read_has_its_own_number(clients: Any) -> None:
    client = await clients(max_depth=5_000, tenant_max_jobs=5_000)
    jobs = [make_job(tenant="много") for _ in range(1_100)]
    jobs += [make_job(tenant="мало") for _ in range(20)]
    for start in range(0, len(jobs), 70):
        await asyncio.gather(*(client.submit(job) for job in jobs[start : start + 70]))
    assert (await client.signals()).waiting_by_tenant == {"много": 1_100, "мало": 20}
