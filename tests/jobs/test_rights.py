"""What a Redis user may run: the documented rights are enough, and each one that is missing is named."""

import asyncio
import re
import uuid
from importlib import resources

import pytest
from redis.exceptions import ResponseError

from jobs.client.client import JobClient
from jobs.contract.errors import NotPermitted, QueueUnavailable
from jobs.contract.events import Progress
from jobs.contract.job import JobState
from jobs.contract.limits import QueueLimits
from jobs.redis import scripts
from jobs.redis.causes import describe_error
from jobs.redis.redis_errors import ErrorClass, classify_error
from jobs.redis.transport import SyncTransport
from jobs.worker.consumer import JobConsumer
from tests.support.redis_servers import RedisServer
from tests.support.redis_users import documented_commands, make_user, url_of
from tests.support.sample_jobs import commit, make_job, make_worker

PLAIN = {"eval", "evalsha", "blpop", "wait"}
"""Commands that no script can call."""


def _lua(name: str) -> str:
    return resources.files("jobs.redis").joinpath("lua", name).read_text(encoding="utf-8")


def _used_commands() -> set[str]:
    names = [file.name for file in resources.files("jobs.redis").joinpath("lua").iterdir()]
    texts = [_lua(name) for name in names if name.endswith(".lua") and name != "probe.lua"]
    return {word.lower() for text in texts for word in re.findall(r"redis\.p?call\('(\w+)'", text)}


def test_every_command_of_every_script_is_probed_and_documented() -> None:
    probed = {word.lower() for word in re.findall(r"\btry\('(\w+)'", _lua("probe.lua"))}
    assert _used_commands() <= probed
    assert probed | PLAIN == set(documented_commands())


async def test_the_documented_rights_are_enough_for_the_life_of_jobs(server: RedisServer, queue: str) -> None:
    url = make_user(server, "rudolph", queue)
    client = await JobClient.connect(url, queue=queue)
    consumer = JobConsumer(url, queue=queue, worker_id=uuid.uuid4().hex)
    try:
        consumer.check_rights()
        consumer.join(make_worker(consumer.worker_id))
        await client.ping()
        job, other, third = (make_job(idempotency_key=key) for key in "abc")
        for one in (job, other, third):
            assert (await client.submit(one)).created
        assert not (await client.submit(make_job(idempotency_key="a"))).created
        events = client.events(job.id)
        await anext(events)
        assert (await client.cancel(third.id)) is JobState.CANCELLED
        [claimed] = consumer.claim(1)
        consumer.publish(job.id, 1, Progress("decode", 1, 2))
        assert consumer.renew({job.id: 1}).lost == frozenset()
        consumer.wait_for_work(0.01)
        commit(consumer, claimed)
        async with asyncio.timeout(10):
            assert [event async for event in events]
        await _kill_twice(client, consumer, other.id)
        assert [letter.id for letter in await client.dead()] == [other.id]
        assert await client.retry(other.id) is JobState.QUEUED
        await _kill_twice(client, consumer, other.id)
        assert await client.purge() == 1
        assert await client.list_jobs(JobState.SUCCEEDED)
        assert (await client.quotas.take("q", 60, 1)).wait_s == 0
        assert consumer.reap() == 0
        assert (await client.workers())[0].id == consumer.worker_id
        consumer.leave(make_worker(consumer.worker_id))
    finally:
        await client.close()
        consumer.close()


async def _kill_twice(client: JobClient, consumer: JobConsumer, job_id: str) -> None:
    while (await client.status(job_id)).state is not JobState.DEAD:
        [claimed] = consumer.claim(1)
        consumer.report_crash({job_id: claimed.attempt})


@pytest.mark.slow
async def test_each_command_that_is_taken_away_is_named_by_start_by_ready_and_by_the_worker(
    server: RedisServer, queue: str
) -> None:
    limits = QueueLimits(wait_replicas=1)
    url = make_user(server, "rudolph", queue)
    running = await JobClient.connect(url, queue=queue, limits=limits)
    worker = JobConsumer(url, queue=queue, worker_id="w", retry_for_s=0.0)
    try:
        await running.ping()
        for command in documented_commands():
            make_user(server, "rudolph", queue, without=command)
            with pytest.raises(NotPermitted, match=rf"\b{command.upper()}\b"):  # at start, and by doctor
                await JobClient.connect(url, queue=queue, limits=limits)
            with pytest.raises(NotPermitted, match=rf"\b{command.upper()}\b"):  # /health/ready
                await running.ping()
            if command != "wait":
                with pytest.raises(NotPermitted, match=rf"\b{command.upper()}\b"):
                    worker.check_rights()
            make_user(server, "rudolph", queue)
            await running.ping()
            worker.check_rights()
    finally:
        await running.close()
        worker.close()


async def test_several_missing_commands_are_named_at_once(server: RedisServer, queue: str) -> None:
    make_user(server, "rudolph", queue)
    with server.client() as redis:
        redis.execute_command("ACL", "SETUSER", "rudolph", "-info", "-zpopmin", "-blpop")
    with pytest.raises(NotPermitted, match=r"INFO, ZPOPMIN, BLPOP.*docs/security\.md"):
        await JobClient.connect(url_of(server, "rudolph"), queue=queue)


async def test_a_user_of_another_queue_is_refused(server: RedisServer, queue: str) -> None:
    url = make_user(server, "rudolph", queue)
    with pytest.raises(NotPermitted, match="keys"):
        await JobClient.connect(url, queue=f"{queue}-other")


def test_a_failing_script_names_the_missing_command_too(server: RedisServer, queue: str) -> None:
    transport = SyncTransport(make_user(server, "rudolph", queue), queue, timeout_s=5)
    try:
        transport.run(scripts.initialise(new_epoch="e", accept_loss=False), retry_for_s=0)
        make_user(server, "rudolph", queue, without="zcard")
        with pytest.raises(NotPermitted, match="ZCARD"):
            transport.run(scripts.stats(), retry_for_s=0)
    finally:
        transport.close()


async def test_the_probe_changes_nothing(server: RedisServer, queue: str) -> None:
    client = await JobClient.connect(server.url, queue=queue)
    await client.submit(make_job())
    await client.close()  # its polling writes
    transport = SyncTransport(server.url, queue, timeout_s=5)
    try:
        with server.client() as redis:
            before = {key: redis.dump(key) for key in redis.scan_iter(f"{{{queue}}}*")}
            written = redis.info("persistence")["rdb_changes_since_last_save"]  # type: ignore[index]
            for _ in range(3):
                transport.check_rights(retry_for_s=0, replicas=1)
            assert redis.info("persistence")["rdb_changes_since_last_save"] == written  # type: ignore[index]
            assert {key: redis.dump(key) for key in redis.scan_iter(f"{{{queue}}}*")} == before
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("password", "words"), [("wrong", "WRONGPASS"), ("", "WRONGPASS|NOAUTH|requires a password")]
)
async def test_a_refused_password_is_named(
    server: RedisServer, queue: str, password: str, words: str
) -> None:
    make_user(server, "rudolph", queue)
    with pytest.raises(NotPermitted, match=words) as fault:
        await JobClient.connect(url_of(server, "rudolph", password or "x"), queue=queue)
    assert "wrong" not in str(fault.value).replace("wrong type", "")


async def test_a_replica_is_named_as_read_only(server: RedisServer, queue: str) -> None:
    with RedisServer(binary=server.binary, replicaof=f"127.0.0.1 {server.port}") as replica:
        with pytest.raises(QueueUnavailable) as fault:
            await JobClient.connect(replica.url, queue=queue)
        assert "READONLY" in fault.value.reason or "MASTERDOWN" in fault.value.reason


def test_protected_mode_is_a_refusal_with_its_remedy() -> None:
    """Seen in a container: Redis refuses other machines so while its default user has no password."""
    refusal = ResponseError("DENIED Redis is running in protected mode because …")
    assert classify_error(refusal) is ErrorClass.FORBIDDEN
    assert "Set a password in Redis" in describe_error(refusal)
