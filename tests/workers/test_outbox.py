"""What leaves a worker, and in which order, with a real Redis."""

import asyncio
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from jobs.client.client import JobClient
from jobs.contract.events import Progress, StateChanged
from jobs.contract.job import Job, JobState
from jobs.worker.consumer import JobConsumer
from telemetry.metrics import WorkerMetrics
from telemetry.tracing import Tracer
from tests.support.redis_servers import RedisServer
from tests.support.sample_jobs import make_job, make_result
from workers.leases import Lease, LeaseTable
from workers.outbox import MAX_EVENTS, Outbox


@pytest.fixture
def server(tmp_path: Path) -> Generator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


class Sender:
    """A worker without an engine: it claims jobs, and the test says what leaves."""

    def __init__(self, url: str, may_emit: Callable[[], bool] = lambda: True) -> None:
        self.consumer = JobConsumer(url, worker_id="w", retry_for_s=1.0)
        self.leases = LeaseTable()
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.outbox = Outbox(self.consumer, self.leases, self.metrics, model="m", may_emit=may_emit)
        self.outbox.start()

    def claim(self) -> tuple[Job, Lease]:
        [claimed] = self.consumer.claim(1)
        job = claimed.job
        span = Tracer().attempt(job.id, job.task, 1, num_sequences=1, queued_s=0.0, traceparent=None)
        lease = Lease(claimed.attempt, job.task, span)
        self.leases.add(job.id, lease)
        return job, lease

    def close(self) -> None:
        self.outbox.close(5.0)
        self.consumer.close()


@pytest.mark.parametrize("num_jobs", [1, 6])
async def test_all_events_of_a_job_arrive_before_its_end(server: RedisServer, num_jobs: int) -> None:
    client = await JobClient.connect(server.url)
    sender = Sender(server.url)
    streams = []
    for _ in range(num_jobs):
        submission = await client.submit(make_job())
        streams.append(client.events(submission.id))
        await anext(streams[-1])
    num_events = MAX_EVENTS // num_jobs // 2
    for job, lease in [sender.claim() for _ in range(num_jobs)]:
        for step in range(num_events):
            sender.outbox.publish(job.id, lease.attempt, Progress("drawing", step, num_events))
        sender.outbox.commit(job.id, lease, make_result(), 0.1)
    async with asyncio.timeout(20):
        for stream in streams:
            bodies = [event.body async for event in stream]
            assert bodies == [
                StateChanged(JobState.RUNNING),
                *(Progress("drawing", step, num_events) for step in range(num_events)),
                StateChanged(JobState.SUCCEEDED),
            ]
    sender.close()
    await client.close()


async def test_nothing_leaves_while_the_leases_are_uncertain(server: RedisServer) -> None:
    client = await JobClient.connect(server.url)
    is_certain = False
    sender = Sender(server.url, may_emit=lambda: is_certain)
    submission = await client.submit(make_job())
    job, lease = sender.claim()
    sender.outbox.publish(job.id, lease.attempt, Progress("drawing", 1, 9))
    sender.outbox.commit(job.id, lease, make_result(), 0.1)
    await asyncio.sleep(0.5)
    status = await client.status(submission.id)
    assert (status.state, status.progress) == (JobState.RUNNING, None)
    is_certain = True
    assert await client.wait(submission.id, 5) == make_result()
    sender.close()
    await client.close()


async def test_events_that_redis_did_not_take_delay_no_result(server: RedisServer) -> None:
    """A frozen server costs each attempt a socket timeout; the events of that time are given up together."""
    client = await JobClient.connect(server.url)
    sender = Sender(server.url)
    submission = await client.submit(make_job())
    job, lease = sender.claim()
    server.freeze()
    for step in range(100):
        sender.outbox.publish(job.id, lease.attempt, Progress("drawing", step, 100))
    sender.outbox.commit(job.id, lease, make_result(), 0.1)
    await asyncio.sleep(6.0)
    server.thaw()
    thawed_s = time.monotonic()
    assert await client.wait(submission.id, 20) == make_result()
    assert time.monotonic() - thawed_s < 8.0
    sender.close()
    await client.close()
