"""The time of each command to Redis is reported under a name from a bounded set."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Generator

import pytest
from prometheus_client import CollectorRegistry

from jobs.client.client import JobClient
from jobs.contract.errors import QueueError
from jobs.redis import scripts
from jobs.redis.scripts import load_scripts
from jobs.redis.transport import AsyncTransport, SyncTransport
from jobs.worker.consumer import JobConsumer
from telemetry.metrics import ApiMetrics, WorkerMetrics, exposition
from tests.support.redis_servers import RedisServer, free_port
from tests.support.sample_jobs import commit, make_job

PLAIN = {"BLPOP", "EVAL", "WAIT", "ROLE", "GET", "SET", "SISMEMBER", "INFO"}


@pytest.fixture
def own_server() -> Generator[RedisServer]:
    with RedisServer() as running:
        yield running


class Calls:
    """What was observed: seconds by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, seconds: float) -> None:
        self.seconds[name].append(seconds)


async def test_both_sides_report_scripts_by_name_and_plain_commands_in_capitals(
    server: RedisServer, queue: str
) -> None:
    api, worker = Calls(), Calls()
    client = await JobClient.connect(server.url, queue=queue, observe=api)
    consumer = JobConsumer(server.url, queue=queue, worker_id="w", observe=worker)
    job = make_job()
    await client.submit(job)
    (claimed,) = await asyncio.to_thread(consumer.claim, 1)
    await asyncio.to_thread(commit, consumer, claimed)
    await client.wait(job.id, 10)
    await client.server_info()
    await asyncio.to_thread(consumer.check_rights)
    await client.close()
    consumer.close()
    assert {"initialise", "submit", "report", "INFO"} <= set(api.seconds)
    assert {"claim", "commit", "probe", "EVAL", "BLPOP"} <= set(worker.seconds)
    assert set(api.seconds) | set(worker.seconds) <= set(load_scripts()) | PLAIN
    assert len(worker.seconds["commit"]) == 2  # sent again, because the server did not know the script
    assert all(0 < seconds < 10 for seconds in worker.seconds["commit"])


def test_a_wait_for_work_is_no_call(server: RedisServer, queue: str) -> None:
    calls = Calls()
    consumer = JobConsumer(server.url, queue=queue, worker_id="w", observe=calls)
    consumer.wait_for_work(0.2)
    consumer.close()
    assert not calls.seconds


async def test_the_time_is_that_of_the_server(own_server: RedisServer, queue: str) -> None:
    calls = Calls()
    transport = SyncTransport(own_server.url, queue, timeout_s=5, observe=calls)
    transport.run(scripts.probe(), retry_for_s=0)
    own_server.freeze()
    thawing = asyncio.create_task(_thaw_after(own_server, 1.0))
    await asyncio.to_thread(transport.run, scripts.probe(), retry_for_s=0)
    await thawing
    transport.close()
    *fast, slow = calls.seconds["probe"]
    assert max(fast) < 0.5 < slow


async def _thaw_after(server: RedisServer, seconds: float) -> None:
    await asyncio.sleep(seconds)
    server.thaw()


async def test_failures_and_retries_are_reported_each(queue: str) -> None:
    calls = Calls()
    url = f"redis://127.0.0.1:{free_port()}/0"
    blocking = SyncTransport(url, queue, timeout_s=1, observe=calls)
    with pytest.raises(QueueError):
        blocking.run(scripts.stats(), retry_for_s=0.2)
    assert len(calls.seconds["stats"]) > 1
    transport = AsyncTransport(url, queue, timeout_s=1, observe=calls)
    with pytest.raises(QueueError):
        await transport.command("INFO")
    assert len(calls.seconds["INFO"]) == 1
    await transport.close()
    blocking.close()


async def test_a_wait_for_a_turn_is_not_the_server_s_time(own_server: RedisServer, queue: str) -> None:
    calls = Calls()
    transport = AsyncTransport(own_server.url, queue, timeout_s=5, max_in_flight=1, observe=calls)
    await transport.run(scripts.probe(), retry_for_s=0)
    calls.seconds.clear()
    own_server.freeze()
    thawing = asyncio.create_task(_thaw_after(own_server, 1.0))
    await asyncio.gather(*(transport.run(scripts.probe(), retry_for_s=0) for _ in range(4)))
    await thawing
    await transport.close()
    slow = [seconds for seconds in calls.seconds["probe"] if seconds > 0.5]
    assert len(calls.seconds["probe"]) == 4
    assert len(slow) == 1


def test_an_observation_takes_microseconds() -> None:
    metrics = ApiMetrics(CollectorRegistry())
    best_s = float("inf")
    for _ in range(20):
        started_s = time.perf_counter()
        for _ in range(200):
            metrics.redis_calls("submit", 0.0004)
        best_s = min(best_s, (time.perf_counter() - started_s) / 200)
    assert best_s < 20e-6  # a call takes 90 µs at least on any machine seen so far


def test_api_and_worker_have_series_of_their_own() -> None:
    for metrics, name in (
        (ApiMetrics(CollectorRegistry()), "rudolph_redis_call_seconds"),
        (WorkerMetrics(CollectorRegistry()), "rudolph_worker_redis_call_seconds"),
    ):
        metrics.redis_calls("commit", 0.002)
        metrics.redis_calls("commit", 0.2)
        text = exposition(metrics.registry).decode()
        assert f'{name}_count{{call="commit"}} 2.0' in text
        assert f'{name}_bucket{{call="commit",le="0.0025"}} 1.0' in text
