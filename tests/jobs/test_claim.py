"""Claims: in the right order, once, and the same answer to the same question."""

import asyncio
from collections.abc import Callable

import pytest

from jobs.client.client import JobClient
from jobs.contract.errors import QueueUnavailable
from jobs.contract.job import JobState
from jobs.contract.results import JobFailure
from jobs.redis import keys, scripts
from jobs.redis.retry import Send
from jobs.redis.transport import SyncTransport
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import commit, make_job


def _order(consumer: JobConsumer, num: int) -> list[str]:
    return [claimed.job.tenant for claimed in consumer.claim(num)]


async def test_jobs_of_one_tenant_come_in_their_order(client: JobClient, consumer: JobConsumer) -> None:
    jobs = [make_job() for _ in range(10)]
    for job in jobs:
        await client.submit(job)
    assert [(await client.status(job.id)).position for job in jobs] == list(range(10))
    assert [claimed.job.id for claimed in consumer.claim(4)] == [job.id for job in jobs[:4]]
    assert [claimed.job.id for claimed in consumer.claim(9)] == [job.id for job in jobs[4:]]
    assert consumer.claim(1) == []


async def test_first_jobs_of_several_tenants_come_in_their_order(
    client: JobClient, consumer: JobConsumer
) -> None:
    jobs = [make_job(tenant=f"tenant {number}") for number in range(20)]
    for job in jobs:
        await client.submit(job)
    assert [claimed.job.id for claimed in consumer.claim(20)] == [job.id for job in jobs]


async def test_lower_priority_number_comes_first(client: JobClient, consumer: JobConsumer) -> None:
    jobs = [make_job(priority=priority) for priority in (10, 0, -10, 0)]
    for job in jobs:
        await client.submit(job)
    assert [claimed.job.priority for claimed in consumer.claim(9)] == [-10, 0, 0, 10]


async def test_flood_of_one_tenant_delays_another_by_one_turn(
    client: JobClient, consumer: JobConsumer
) -> None:
    for _ in range(50):
        await client.submit(make_job(tenant="flood"))
    assert _order(consumer, 5) == ["flood"] * 5
    for _ in range(3):
        await client.submit(make_job(tenant="other"))
    order = _order(consumer, 8)
    assert order.count("other") == 3
    assert "other" in order[:2]


async def test_shares_are_counted_in_rows(client: JobClient, consumer: JobConsumer) -> None:
    for _ in range(10):
        await client.submit(make_job(tenant="wide", num_sequences=8))
    for _ in range(80):
        await client.submit(make_job(tenant="narrow", num_sequences=1))
    order = _order(consumer, 45)
    assert order.count("wide") == pytest.approx(5, abs=1)


async def test_tenant_that_was_idle_saves_nothing_up(client: JobClient, consumer: JobConsumer) -> None:
    await client.submit(make_job(tenant="early"))
    for _ in range(30):
        await client.submit(make_job(tenant="busy"))
    _order(consumer, 31)
    for _ in range(10):
        await client.submit(make_job(tenant="early"))
        await client.submit(make_job(tenant="busy"))
    assert _order(consumer, 10).count("busy") >= 4


def claim(transport: SyncTransport, session: str, *, number: int, limit: int) -> list[list[bytes]]:
    call = scripts.claim(worker="w", session=session, number=number, limit=limit, lease_s=15.0, model="")
    return transport.run(call, retry_for_s=1)


async def test_repeated_claim_gets_the_same_jobs(client: JobClient, transport: SyncTransport) -> None:
    for _ in range(4):
        await client.submit(make_job())
    claims = [claim(transport, "session", number=1, limit=2) for _ in range(3)]
    ids = [[fields[0] for fields in claim] for claim in claims]
    assert ids[0] == ids[1] == ids[2]
    assert [fields[1] for fields in claims[2]] == [b"1", b"1"]
    assert (await client.stats()).waiting == 2


async def test_repeated_claim_leaves_out_what_is_no_longer_held(
    client: JobClient, transport: SyncTransport, consumer: JobConsumer
) -> None:
    for _ in range(2):
        await client.submit(make_job())
    first, second = (fields[0] for fields in claim(transport, "s", number=1, limit=2))
    transport.run(scripts.release(worker="w", held={first.decode(): 1}), retry_for_s=1)
    consumer.claim(1)
    assert [fields[0] for fields in claim(transport, "s", number=1, limit=2)] == [second]


async def test_claim_that_arrives_late_takes_nothing(client: JobClient, transport: SyncTransport) -> None:
    claim(transport, "session", number=2, limit=1)
    await client.submit(make_job())
    assert claim(transport, "session", number=1, limit=1) == []
    assert len(claim(transport, "new session", number=1, limit=1)) == 1


async def test_claim_whose_answer_was_lost_is_answered_by_the_next_call(
    client: JobClient, server: RedisServer, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.submit(make_job())
    consumer = JobConsumer(server.url, queue=queue, worker_id="w", retry_for_s=0.0)
    send = SyncTransport._send

    def lose_the_answer(self: SyncTransport, step: Send) -> object:
        reply = send(self, step)
        if step.command[0] == "GET":  # the epoch
            return reply
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(SyncTransport, "_send", lose_the_answer)
        with pytest.raises(QueueUnavailable):
            consumer.claim(1)
    assert (await client.stats()).running == 1
    [claimed] = consumer.claim(1)
    assert claimed.attempt == 1
    consumer.close()


async def test_job_past_its_deadline_expires_instead_of_running(
    client: JobClient, consumer: JobConsumer
) -> None:
    late, fine = make_job(deadline_s=0.05), make_job(deadline_s=60.0)
    for job in (late, fine):
        await client.submit(job)
    await asyncio.sleep(0.1)
    [claimed] = consumer.claim(2)
    assert claimed.job.id == fine.id
    assert claimed.deadline_left_s == pytest.approx(60, abs=1)
    status = await client.status(late.id)
    assert status.state is JobState.EXPIRED
    assert await client.outcome(late.id) == status.failure
    assert status.failure is not None
    assert status.failure.code == "deadline_exceeded"


async def test_queued_job_expires_even_when_no_worker_claims(
    client: JobClient, consumer: JobConsumer
) -> None:
    job = make_job(deadline_s=0.05)
    await client.submit(job)
    await asyncio.sleep(0.1)
    consumer.reap()
    assert (await client.status(job.id)).state is JobState.EXPIRED
    assert (await client.stats()).input_bytes == 0


async def test_waiting_worker_is_woken_by_a_submission(client: JobClient, consumer: JobConsumer) -> None:
    loop = asyncio.get_running_loop()
    consumer.claim(1)
    started = loop.time()
    waiting = asyncio.create_task(asyncio.to_thread(consumer.wait_for_work, 1.0))
    await asyncio.sleep(0.1)
    await client.submit(make_job())
    await waiting
    assert 0.1 <= loop.time() - started < 0.8


async def test_waiting_worker_returns_within_a_second(client: JobClient, consumer: JobConsumer) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.to_thread(consumer.wait_for_work, 30.0)
    assert 0.8 <= loop.time() - started <= 1.5


async def test_worker_before_the_first_api_gets_queue_unavailable(consumer: JobConsumer) -> None:
    with pytest.raises(QueueUnavailable, match="not been initialised"):
        JobConsumer.claim(_impatient(consumer), 1)


def _impatient(consumer: JobConsumer) -> JobConsumer:
    consumer._retry_for_s = 0.0
    return consumer


async def test_job_that_cannot_be_read_fails_with_a_word(
    client: JobClient, consumer: JobConsumer, server: RedisServer, queue: str
) -> None:
    job, fine = make_job(), make_job()
    for each in (job, fine):
        await client.submit(each)
    with server.client() as redis:
        redis.set(f"{keys.prefix(queue)}in:{job.id}", b"J\x63\x80")
    assert [claimed.job.id for claimed in consumer.claim(2)] == [fine.id]
    outcome = await client.outcome(job.id)
    assert isinstance(outcome, JobFailure)
    assert outcome.code == "unreadable_job"


async def test_two_workers_never_hold_one_job(
    client: JobClient, consumers: Callable[..., JobConsumer]
) -> None:
    await asyncio.gather(*(client.submit(make_job()) for _ in range(200)))

    def work(consumer: JobConsumer) -> list[str]:
        done: list[str] = []
        while batch := consumer.claim(7):
            for claimed in batch:
                commit(consumer, claimed)
                done.append(claimed.job.id)
        return done

    shares = await asyncio.gather(*(asyncio.to_thread(work, consumers()) for _ in range(4)))
    done = [job_id for share in shares for job_id in share]
    assert len(done) == len(set(done)) == 200
