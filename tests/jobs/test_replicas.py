"""A job counts as accepted once the configured replicas have it. Without them its outcome is unknown."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Generator

import pytest
from redis import Redis

from jobs.client.client import JobClient
from jobs.contract.errors import OutcomeUnknown, QueueFull, QueueUnavailable
from jobs.contract.limits import QueueLimits
from jobs.redis import keys
from jobs.worker.consumer import JobConsumer
from tests.jobs.conftest import binaries
from tests.support.redis_servers import RedisServer, free_port
from tests.support.sample_jobs import commit, make_job, make_result


@pytest.fixture(params=binaries(), ids=lambda path: path.name)
def master(request: pytest.FixtureRequest) -> Generator[RedisServer]:
    with RedisServer(binary=request.param, repl_diskless_sync_delay=0) as running:
        yield running


@pytest.fixture
async def client(master: RedisServer) -> AsyncGenerator[JobClient]:
    limits = QueueLimits(wait_replicas=1, wait_timeout_ms=1000, max_depth=5)
    connected = await JobClient.connect(master.url, queue=f"replicas-{uuid.uuid4().hex}", limits=limits)
    yield connected
    await connected.close()


def _replica_of(master: RedisServer) -> RedisServer:
    return RedisServer(binary=master.binary, replicaof=f"127.0.0.1 {master.port}")


async def _until_linked(replica: RedisServer) -> None:
    with replica.client() as redis:
        while True:
            info = redis.info("replication")
            assert isinstance(info, dict)
            if info["master_link_status"] == "up":
                return
            await asyncio.sleep(0.05)


async def test_accepted_job_is_on_the_replica(master: RedisServer, client: JobClient) -> None:
    with _replica_of(master) as replica:
        await _until_linked(replica)
        job = make_job()
        assert (await client.submit(job)).created
        with replica.client() as redis:
            assert redis.exists(f"{keys.prefix(client._queue)}job:{job.id}")


async def test_job_without_a_replica_is_of_unknown_fate_until_the_key_is_sent_again(
    master: RedisServer, client: JobClient
) -> None:
    job = make_job(idempotency_key="k")
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match="idempotency key"):
            await client.submit(job)
    with _replica_of(master) as replica:
        await _until_linked(replica)
        again = await client.submit(make_job(idempotency_key="k"))
        assert (again.id, again.created) == (job.id, False)
    assert (await client.stats()).waiting == 1


async def test_refusal_is_a_refusal_with_or_without_replicas(master: RedisServer, client: JobClient) -> None:
    for _ in range(5):
        with pytest.raises(OutcomeUnknown):
            await client.submit(make_job())
    with _replica_of(master) as replica:
        await _until_linked(replica)
        with pytest.raises(QueueFull):
            await client.submit(make_job())


async def test_master_that_asks_for_replicas_refuses_without(
    master: RedisServer, client: JobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.client.client._RETRY_SUBMIT_FOR_S", 0.3)
    with master.client() as redis:
        redis.config_set("min-replicas-to-write", 1)
    with pytest.raises(QueueUnavailable):
        await client.submit(make_job())
    with master.client() as redis:
        redis.config_set("min-replicas-to-write", 0)
    assert (await client.stats()).waiting == 0


async def test_result_is_shown_once_a_replica_has_it(master: RedisServer, client: JobClient) -> None:
    consumer = JobConsumer(master.url, queue=client._queue, worker_id="w")
    with _replica_of(master) as replica:
        await _until_linked(replica)
        job = make_job()
        await client.submit(job)
        [claimed] = consumer.claim(1)
        waiting = asyncio.create_task(client.wait(job.id, 20))
        await asyncio.sleep(0.1)
        replica.freeze()
        commit(consumer, claimed)
        with pytest.raises(QueueUnavailable):
            await client.outcome(job.id)
        await asyncio.sleep(0.5)
        assert not waiting.done()
        replica.thaw()
        assert await waiting == make_result()
    consumer.close()


async def test_server_that_was_never_reached_cannot_have_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.client.client._RETRY_SUBMIT_FOR_S", 0.3)
    client = JobClient(f"redis://127.0.0.1:{free_port()}/0", "q", QueueLimits())
    with pytest.raises(QueueUnavailable):
        await client.submit(make_job())
    await client.close()


async def test_server_that_is_no_longer_the_master_is_unavailable_until_it_is_again(
    master: RedisServer, client: JobClient
) -> None:
    consumer = JobConsumer(master.url, queue=client._queue, worker_id="w", retry_for_s=0.2)
    assert consumer.claim(1) == []
    with master.client() as redis:
        redis.execute_command("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(QueueUnavailable):
            consumer.claim(1)
        with pytest.raises(QueueUnavailable):
            await client.cancel(await _queued_before(redis, client))
        redis.execute_command("REPLICAOF", "NO", "ONE")
    assert consumer.claim(1) != []
    consumer.close()


async def _queued_before(redis: Redis, client: JobClient) -> str:
    """A job that the server has in either role."""
    redis.execute_command("REPLICAOF", "NO", "ONE")
    job = make_job()
    with pytest.raises(OutcomeUnknown):
        await client.submit(job)
    redis.execute_command("REPLICAOF", "127.0.0.1", free_port())
    return job.id
