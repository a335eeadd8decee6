"""What a client was answered still holds after a failover that has undone the write.

The order of a planned failover: the successor is promoted; the old primary still accepts, and its other
replica confirms; then all clients find the successor.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from jobs.client import recent_writes
from jobs.client.client import JobClient
from jobs.client.kept import KeptItems
from jobs.contract.errors import JobNotFound, OutcomeUnknown, QueueFull, QueueUnavailable
from jobs.contract.events import StateChanged
from jobs.contract.job import JobState
from jobs.contract.limits import QueueLimits
from jobs.redis import keys
from jobs.worker.consumer import JobConsumer
from tests.faults.proxy import Proxy
from tests.jobs.conftest import binaries
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job, make_result

LIMITS = QueueLimits(wait_replicas=1, wait_timeout_ms=1000, max_depth=5)


@dataclass
class Group:
    """An old primary, its successor, and a replica that confirms the writes of both."""

    old: RedisServer
    successor: RedisServer
    witness: RedisServer
    door: Proxy
    queue: str

    async def promote(self) -> None:
        """The first half of a planned failover: from now on the successor misses what clients write."""
        with self.old.client() as redis:
            redis.set("mark", 1)
            assert redis.wait(2, 4000) == 2  # it has everything up to now
        with self.successor.client() as redis:
            redis.execute_command("REPLICAOF", "NO", "ONE")

    async def switch(self) -> None:
        """The second half: the old primary and its replica follow, and clients find the successor."""
        with self.witness.client() as redis:
            redis.execute_command("REPLICAOF", "127.0.0.1", self.successor.port)
        await _until_linked(self.witness)
        self.old.kill()
        self.door.redirect(self.successor.port)


async def _until_linked(replica: RedisServer) -> None:
    with replica.client() as redis:
        while True:
            info = redis.info("replication")
            assert isinstance(info, dict)
            if info["master_link_status"] == "up":
                return
            await asyncio.sleep(0.05)


@pytest.fixture(params=binaries(), ids=lambda path: path.name)
def servers(request: pytest.FixtureRequest) -> Generator[Group]:
    options = {"repl_diskless_sync_delay": 0, "repl_ping_replica_period": 1}
    with RedisServer(binary=request.param, **options) as old:
        primary = f"127.0.0.1 {old.port}"
        with (
            RedisServer(binary=request.param, replicaof=primary, **options) as successor,
            RedisServer(binary=request.param, replicaof=primary, **options) as witness,
            Proxy(old.port) as door,
        ):
            yield Group(old, successor, witness, door, f"failover-{uuid.uuid4().hex}")


@pytest.fixture
async def group(servers: Group) -> Group:
    await _until_linked(servers.successor)
    await _until_linked(servers.witness)
    return servers


@pytest.fixture
async def connect(group: Group) -> AsyncGenerator[Callable[..., Awaitable[JobClient]]]:
    opened: list[JobClient] = []

    async def open_client(limits: QueueLimits = LIMITS) -> JobClient:
        opened.append(await JobClient.connect(group.door.url, queue=group.queue, limits=limits))
        await opened[-1]._recent.check()  # the queue knows its server, as it does a second after its start
        return opened[-1]

    yield open_client
    for client in opened:
        await client.close()


@pytest.fixture
def consumer(group: Group) -> Generator[JobConsumer]:
    opened = JobConsumer(group.door.url, queue=group.queue, worker_id="w", retry_for_s=5)
    yield opened
    opened.close()


async def _until_state(client: JobClient, job_id: str, state: JobState) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                if (await client.status(job_id)).state is state:
                    return
            except QueueUnavailable:
                pass
            await asyncio.sleep(0.05)


async def test_accepted_job_that_a_failover_has_undone_is_stored_again(
    group: Group, connect: Callable[..., Awaitable[JobClient]]
) -> None:
    client = await connect()
    before = await client.submit(make_job())
    await group.promote()
    undone = [await client.submit(make_job(idempotency_key=key)) for key in ("a", None)]
    await group.switch()
    for submission in undone:
        assert (await client.status(submission.id)).state is JobState.QUEUED
    assert (await client.status(before.id)).state is JobState.QUEUED
    again = await client.submit(make_job(idempotency_key="a"))
    assert (again.id, again.created) == (undone[0].id, False)
    assert (await client.stats()).waiting == 3


async def test_job_is_stored_again_before_anyone_asks_for_it(
    group: Group, connect: Callable[..., Awaitable[JobClient]]
) -> None:
    client, other = await connect(), await connect()
    await group.promote()
    undone = [(await client.submit(make_job())).id for _ in range(4)]
    await group.switch()
    async with asyncio.timeout(10):
        while (await other.stats()).waiting < 4:
            await asyncio.sleep(0.1)
    assert {status.id for status in await other.list_jobs(JobState.QUEUED)} == set(undone)
    assert client._recent.num_restored == 4


async def test_accepted_job_is_stored_again_in_a_queue_that_is_full_by_now(
    group: Group, connect: Callable[..., Awaitable[JobClient]]
) -> None:
    client, other = await connect(), await connect()
    await group.promote()
    undone = await client.submit(make_job(tenant="a"))
    client._recent._closing.set()
    await asyncio.sleep(0.3)
    await group.switch()
    for _ in range(5):
        await other.submit(make_job(tenant="a"))
    with pytest.raises(QueueFull):
        await other.submit(make_job(tenant="a"))
    with pytest.raises(QueueUnavailable):  # its connection was reset
        await client._recent.check()
    await client._recent.check()
    assert (await other.status(undone.id)).state is JobState.QUEUED


async def test_another_process_reports_an_unknown_job_as_unavailable_until_the_failover_has_settled(
    group: Group, connect: Callable[..., Awaitable[JobClient]], monkeypatch: pytest.MonkeyPatch
) -> None:
    accepting, asking = await connect(), await connect()
    await group.promote()
    undone = await accepting.submit(make_job())
    accepting._recent._closing.set()  # from now on it stores again only what is asked for
    await asyncio.sleep(0.3)
    await group.switch()
    for call in (asking.status, asking.report, asking.cancel):
        with pytest.raises(QueueUnavailable, match="moved to another server"):
            await call(undone.id)
    monkeypatch.setattr(recent_writes, "SETTLING_S", 0.0)
    with pytest.raises(JobNotFound):
        await asking.status("never-submitted")
    assert (await accepting.status(undone.id)).state is JobState.QUEUED


async def test_job_that_the_successor_has_ended_does_not_run_again(
    group: Group,
    connect: Callable[..., Awaitable[JobClient]],
    consumer: JobConsumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = await connect(QueueLimits(job_ttl_s=1, synchronous_ttl_s=1, max_depth=5))
    job = await client.submit(make_job(idempotency_key="k"))
    await group.promote()
    await group.switch()
    [claimed] = consumer.claim(1)
    commit(consumer, claimed)
    monkeypatch.setattr(recent_writes, "KEEP_S", 0.0)
    await asyncio.sleep(3)  # its record has expired, and the client has checked what it keeps
    monkeypatch.setattr(recent_writes, "SETTLING_S", 0.0)
    assert consumer.claim(1) == []
    assert (await client.stats()).waiting == 0
    with pytest.raises(JobNotFound):
        await client.status(job.id)


async def test_purged_dead_letter_does_not_run_again(
    group: Group, connect: Callable[..., Awaitable[JobClient]], consumer: JobConsumer
) -> None:
    client = await connect()
    job = await client.submit(make_job())
    for _ in range(3):
        consumer.report_crash({claimed.job.id: claimed.attempt for claimed in consumer.claim(1)})
    assert await client.purge() == 1
    await client._recent.check(everything=True)
    assert (await client.stats()).waiting == 0
    with pytest.raises(JobNotFound):
        await client.status(job.id)


async def test_key_that_has_another_equal_job_by_now_keeps_that_job(
    group: Group, connect: Callable[..., Awaitable[JobClient]]
) -> None:
    first, second = await connect(), await connect()
    await group.promote()
    undone = await first.submit(make_job(idempotency_key="k"))
    first._recent._closing.set()
    await asyncio.sleep(0.3)
    await group.switch()
    repeated = await second.submit(make_job(idempotency_key="k"))
    assert repeated.id != undone.id
    with pytest.raises(OutcomeUnknown, match="same idempotency key"):
        await first.status(undone.id)
    assert (await first.submit(make_job(idempotency_key="k"))).id == repeated.id
    assert (await second.stats()).waiting == 1


async def test_key_that_another_request_has_by_now_does_not_cost_an_accepted_job(
    group: Group, connect: Callable[..., Awaitable[JobClient]]
) -> None:
    first, second = await connect(), await connect()
    await group.promote()
    undone = await first.submit(make_job("один", idempotency_key="k"))
    first._recent._closing.set()
    await asyncio.sleep(0.3)
    await group.switch()
    other = await second.submit(make_job("другой", idempotency_key="k"))
    assert (await first.status(undone.id)).state is JobState.QUEUED
    assert (await second.submit(make_job("другой", idempotency_key="k"))).id == other.id


async def test_repeated_submission_is_kept_by_the_process_that_answered_it(
    group: Group, connect: Callable[..., Awaitable[JobClient]]
) -> None:
    first, second = await connect(), await connect()
    await group.promote()
    undone = await first.submit(make_job(idempotency_key="k"))
    assert (await second.submit(make_job(idempotency_key="k"))).id == undone.id
    first._recent._closing.set()
    first._recent._jobs.clear()  # as if the first process had died
    await asyncio.sleep(0.3)
    await group.switch()
    assert (await second.status(undone.id)).state is JobState.QUEUED


async def test_cancellation_that_a_failover_has_undone_is_made_again(
    group: Group, connect: Callable[..., Awaitable[JobClient]], consumer: JobConsumer
) -> None:
    client = await connect()
    queued, running = await client.submit(make_job()), await client.submit(make_job(priority=-1))
    [claimed] = consumer.claim(1)
    assert claimed.job.id == running.id
    await asyncio.sleep(0.3)
    await group.promote()
    assert await client.cancel(queued.id) is JobState.CANCELLED
    assert await client.cancel(running.id) is JobState.RUNNING
    await group.switch()
    await _until_state(client, queued.id, JobState.CANCELLED)
    async with asyncio.timeout(10):
        while not (await client.status(running.id)).cancel_requested:
            await asyncio.sleep(0.05)


async def test_result_that_a_client_has_seen_is_the_result_after_the_failover(
    group: Group, connect: Callable[..., Awaitable[JobClient]], consumer: JobConsumer
) -> None:
    client = await connect()
    job = await client.submit(make_job())
    await group.promote()
    [claimed] = consumer.claim(1)
    commit(consumer, claimed, "первый")
    assert await client.outcome(job.id) == make_result("первый")
    await group.switch()
    await _until_state(client, job.id, JobState.SUCCEEDED)
    assert await client.outcome(job.id) == make_result("первый")
    assert consumer.claim(1) == []


async def test_waiting_client_and_stream_outlive_the_failover(
    group: Group, connect: Callable[..., Awaitable[JobClient]], consumer: JobConsumer
) -> None:
    client = await connect()
    await group.promote()
    job = await client.submit(make_job())
    waiting = asyncio.create_task(client.wait(job.id, 30))

    async def states() -> list[JobState]:
        async with aclosing(client.events(job.id)) as events:
            return [event.body.state async for event in events if isinstance(event.body, StateChanged)]

    streaming = asyncio.create_task(states())
    await asyncio.sleep(0.3)
    await group.switch()
    await asyncio.sleep(2.5)  # long enough for the polling to miss the job, were it not stored again
    claimed = await asyncio.to_thread(_claim_one, consumer)
    commit(consumer, claimed)
    assert await waiting == make_result()
    assert (await streaming)[-1] is JobState.SUCCEEDED


def _claim_one(consumer: JobConsumer):  # type: ignore[no-untyped-def]
    while not (claimed := consumer.claim(1)):
        consumer.wait_for_work(0.2)
    return claimed[0]


async def test_deadline_counts_from_the_acceptance(
    group: Group, connect: Callable[..., Awaitable[JobClient]]
) -> None:
    client = await connect()
    await group.promote()
    job = await client.submit(make_job(deadline_s=30.0))
    await asyncio.sleep(1.5)
    await group.switch()
    await client.status(job.id)
    with group.successor.client() as redis:
        prefix = keys.prefix(group.queue)
        ends, created = redis.hmget(f"{prefix}job:{job.id}", "deadline", "created")  # type: ignore[misc]
    assert float(ends) - float(created) < 28.6


def test_items_are_bounded_by_bytes_and_the_oldest_are_dropped() -> None:
    items: KeptItems[str] = KeptItems(10_000)
    for number in range(100):
        items.put(str(number), "x", 1000)
    assert [kept.job_id for kept in items.all()] == ["97", "98", "99"]
    items.put("98", "again", 1000)
    items.renew(items.all()[0])
    assert [kept.job_id for kept in items.all()] == ["99", "98", "97"]
    items.forget_older_than(0.0)
    assert len(items) == 0
