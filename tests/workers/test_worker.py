"""The worker with a real Redis and a real model: what it promises of the jobs that it holds."""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import msgspec
import pytest
import structlog

from jobs.client.client import JobClient
from jobs.contract.job import Job, JobState
from jobs.contract.requests import Text2ImageRequest
from jobs.contract.results import JobFailure
from jobs.worker.consumer import JobConsumer
from model.files.checkpoint import load_rudolph
from model.rudolph import Rudolph
from tests.support.redis_servers import RedisServer
from tests.workers.running import NUM_SLOTS, WAIT_S, RunningWorker, codes, drawing, until_state
from workers import exit_codes
from workers.engine.settings import EngineSettings
from workers.session import Session, SessionStep

Start = Callable[..., RunningWorker]


@pytest.fixture(scope="module")
def rudolph(tiny_v2: Path) -> Rudolph:
    return load_rudolph(tiny_v2, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def client(redis: RedisServer, queue: str) -> AsyncGenerator[JobClient]:
    connected = await JobClient.connect(redis.url, queue=queue)
    yield connected
    await connected.close()


@pytest.fixture
def start(rudolph: Rudolph, redis: RedisServer, queue: str) -> Generator[Start]:
    started: list[RunningWorker] = []

    def run(session: Session | None = None, **options: float) -> RunningWorker:
        started.append(RunningWorker(rudolph, redis.url, queue, session, **options))
        return started[-1]

    yield run
    for one in started:
        if one.code is None:
            one.drain()


async def test_job_is_done_and_its_result_repeats_with_its_seed(client: JobClient, start: Start) -> None:
    start()
    results = []
    for seed in (7, 7, 8):
        submitted = await client.submit(drawing(seed))
        results.append(codes(await client.wait(submitted.id, WAIT_S)))
    assert results[0] == results[1] != results[2]


async def test_every_line_of_a_job_has_the_id_of_its_request(client: JobClient, start: Start) -> None:
    with structlog.testing.capture_logs() as lines:
        running = start()
        job = msgspec.structs.replace(drawing(), request_id="request-1")
        await client.submit(job)
        await client.wait(job.id, WAIT_S)
        # The last line is written after the result is stored.
        running.drain()
    events = {line["event"]: line for line in lines if line.get("job") == job.id}
    assert {"job_started", "job_finished"} <= set(events)
    assert {line["request_id"] for line in events.values()} == {"request-1"}


async def test_heartbeat_has_the_model_and_the_metrics(client: JobClient, start: Start) -> None:
    running = start()
    submitted = await client.submit(drawing())
    await client.wait(submitted.id, WAIT_S)
    async with asyncio.timeout(WAIT_S):
        while True:
            info = next((info for info in await client.workers() if info.id == running.id), None)
            if (
                info is not None
                and b'rudolph_jobs_total{outcome="succeeded",task="text2image"} 1.0' in info.metrics
            ):
                break
            await asyncio.sleep(0.1)
    assert info.model.name == "tiny-v2"
    assert info.slots == NUM_SLOTS
    assert not info.draining
    for name in (
        b"rudolph_queue_seconds_count 1.0",
        b"rudolph_images_total 1.0",
        b"rudolph_gpu_memory_bytes",
    ):
        assert name in info.metrics


async def test_drained_worker_leaves_the_list_and_its_jobs_go_back_uncharged(
    client: JobClient, start: Start
) -> None:
    first = start(drain_s=0.2)
    long = await client.submit(drawing(candidates=200))
    await until_state(client, long.id, JobState.RUNNING)
    later = await client.submit(drawing(seed=2))
    assert first.drain() == exit_codes.DRAINED
    async with asyncio.timeout(2):
        while await client.workers():
            await asyncio.sleep(0.05)
    status = await client.status(long.id)
    assert status.state is JobState.QUEUED
    assert status.attempt <= 1
    await client.cancel(long.id)
    start()
    assert codes(await client.wait(later.id, WAIT_S))


async def test_worker_that_an_operator_drains_finishes_its_job_and_is_not_to_be_restarted(
    client: JobClient, start: Start
) -> None:
    running = start(drain_s=30)
    job = await client.submit(drawing(candidates=12))
    await until_state(client, job.id, JobState.RUNNING)
    assert await client.drain_worker(running.id)
    later = await client.submit(drawing(seed=2))
    assert await asyncio.to_thread(running.join) == exit_codes.RETIRED
    assert (await client.status(job.id)).state is JobState.SUCCEEDED
    assert (await client.status(later.id)).attempt == 0
    async with asyncio.timeout(2):
        while await client.workers():
            await asyncio.sleep(0.05)


async def test_drain_finishes_what_runs_when_there_is_time(client: JobClient, start: Start) -> None:
    running = start(drain_s=30)
    submitted = await client.submit(drawing(candidates=12))
    await until_state(client, submitted.id, JobState.RUNNING)
    assert running.drain() == exit_codes.DRAINED
    assert codes(await client.outcome(submitted.id))


async def test_cancelled_job_leaves_the_batch_and_others_go_on(client: JobClient, start: Start) -> None:
    running = start()
    long = await client.submit(drawing(candidates=250))
    await until_state(client, long.id, JobState.RUNNING)
    await client.cancel(long.id)
    short = await client.submit(drawing(seed=3))
    assert codes(await client.wait(short.id, 20))
    assert (await client.status(long.id)).state is JobState.CANCELLED
    assert long.id not in running.session.job_ids


async def test_job_of_a_vanished_worker_completes_elsewhere_with_the_same_result(
    client: JobClient, start: Start, redis: RedisServer, queue: str
) -> None:
    submitted = await client.submit(drawing(seed=11))
    # Claims with a short lease and makes no further call.
    vanished = JobConsumer(redis.url, queue=queue, worker_id="vanished", lease_s=0.5)
    assert [claimed.job.id for claimed in vanished.claim(1)] == [submitted.id]
    start()
    outcome = await client.wait(submitted.id, WAIT_S)
    status = await client.status(submitted.id)
    assert status.attempt == 2
    again = await client.submit(drawing(seed=11))
    assert codes(outcome) == codes(await client.wait(again.id, WAIT_S))
    vanished.close()


class BreaksOnSeed(Session):
    """A real session whose engine breaks when a job with the poisonous seed runs."""

    POISON = 666

    def __init__(self, rudolph: Rudolph) -> None:
        super().__init__(rudolph, EngineSettings(num_slots=NUM_SLOTS))
        self.poisoned = False
        self.most_at_once = 0

    def submit(self, job: Job) -> None:
        super().submit(job)
        assert isinstance(job.request, Text2ImageRequest)
        self.poisoned |= job.request.seed == self.POISON
        self.most_at_once = max(self.most_at_once, len(self.job_ids))

    def step(self) -> SessionStep:
        if self.poisoned:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().step()


async def num_unfinished(client: JobClient) -> int:
    """In one look: a job that goes from one place to the other between two would be missed."""
    stats = await client.stats()
    return stats.waiting + stats.running


async def test_crashed_batch_runs_again_alone_and_only_the_poison_is_given_up(
    client: JobClient, start: Start, rudolph: Rudolph
) -> None:
    healthy = [await client.submit(drawing(seed=seed)) for seed in (1, 2)]
    poison = await client.submit(drawing(seed=BreaksOnSeed.POISON))
    sessions: list[BreaksOnSeed] = []
    for _ in range(6):
        sessions.append(BreaksOnSeed(rudolph))
        running = start(sessions[-1])
        async with asyncio.timeout(WAIT_S):
            while running.code is None and await num_unfinished(client):
                await asyncio.sleep(0.02)
        if running.code is None:
            break
        assert running.join() == exit_codes.CRASHED
        sessions[-1].close()
    for submission in healthy:
        assert codes(await client.wait(submission.id, WAIT_S))
    assert (await client.status(poison.id)).state is JobState.DEAD
    outcome = await client.outcome(poison.id)
    assert isinstance(outcome, JobFailure)
    assert "illegal memory access" not in outcome.message or outcome.code == "worker_crashed"
    assert [letter.id for letter in await client.dead()] == [poison.id]
    # After the first crash the batch was run one by one.
    assert sessions[0].most_at_once >= 2
    assert all(session.most_at_once <= 1 for session in sessions[1:])


async def test_redis_outage_costs_neither_the_job_nor_the_worker(rudolph: Rudolph, tmp_path: Path) -> None:
    with RedisServer(tmp_path, appendfsync="always") as server:
        client = await JobClient.connect(server.url)
        running = RunningWorker(rudolph, server.url, "rudolph")
        submitted = await client.submit(drawing(seed=5, candidates=40))
        await until_state(client, submitted.id, JobState.RUNNING)
        server.kill()
        await asyncio.sleep(3)
        server.start()
        outcome = await client.wait(submitted.id, WAIT_S)
        assert codes(outcome)
        assert running.code is None
        after = await client.submit(drawing(seed=6))
        assert codes(await client.wait(after.id, WAIT_S))
        assert running.drain() == exit_codes.DRAINED
        await client.close()


async def test_nothing_is_committed_while_leases_are_uncertain(rudolph: Rudolph, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        client = await JobClient.connect(server.url)
        running = RunningWorker(rudolph, server.url, "rudolph", emit_grace_s=0.6, renew_every_s=0.2)
        submitted = await client.submit(drawing(seed=5, candidates=30))
        await until_state(client, submitted.id, JobState.RUNNING)
        keeper = running.worker._keeper
        server.freeze()
        async with asyncio.timeout(WAIT_S):
            while keeper.may_emit:
                await asyncio.sleep(0.05)
        server.thaw()
        assert codes(await client.wait(submitted.id, WAIT_S))
        assert keeper.may_emit
        assert running.drain() == exit_codes.DRAINED
        await client.close()


@pytest.mark.parametrize("call", ["submit(self, job)", "step(self)"])
def test_hung_engine_ends_the_process_and_reports_its_jobs(
    tiny_v2: Path, redis: RedisServer, queue: str, call: str
) -> None:
    program = f"""
import sys, time
from model.files.checkpoint import load_rudolph
from tests.workers.running import RunningWorker
from workers.session import Session

class Hangs(Session):
    def {call}:
        time.sleep(3600)

rudolph = load_rudolph({str(tiny_v2)!r}, device="cpu", dtype="float32")
RunningWorker(rudolph, {redis.url!r}, {queue!r}, Hangs(rudolph), watchdog_s=1.0).join()
"""

    async def submit() -> str:
        client = await JobClient.connect(redis.url, queue=queue)
        submitted = await client.submit(drawing())
        await client.close()
        return submitted.id

    job_id = asyncio.run(submit())
    began_s = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", program], timeout=WAIT_S, check=False, capture_output=True
    )
    assert process.returncode == exit_codes.HUNG, process.stderr.decode()[-2000:]
    assert time.monotonic() - began_s < 40
    consumer = JobConsumer(redis.url, queue=queue, worker_id="next")
    (claimed,) = consumer.claim(1)
    assert claimed.job.id == job_id
    assert claimed.solo
    consumer.close()
