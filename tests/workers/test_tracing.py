"""The worker's spans: one for each attempt that came to an end, and none for one that did not."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from jobs.client.client import JobClient
from jobs.contract.job import Job, JobState
from model.files.checkpoint import load_rudolph
from model.rudolph import Rudolph
from telemetry.tracing import open_tracer
from tests.support.redis_servers import RedisServer
from tests.telemetry.collector import Collector
from tests.workers.running import WAIT_S, RunningWorker, drawing, until_state

ROOT = Path(__file__).resolve().parents[2]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Place:
    """A queue, and workers for it that send their spans to one collector."""

    client: JobClient
    collector: Collector
    start: Callable[..., RunningWorker]


@pytest.fixture(scope="module")
def rudolph(tiny_v2: Path) -> Rudolph:
    return load_rudolph(tiny_v2, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def place(
    rudolph: Rudolph, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Place]:
    queue = f"test-{uuid.uuid4().hex}"
    started: list[RunningWorker] = []
    with Collector() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        tracer = open_tracer(os.environ, "rudolph-worker", worker="w-1", model="tiny-v2", revision="r-1")

        def start(**options: float) -> RunningWorker:
            started.append(RunningWorker(rudolph, redis.url, queue, tracer=tracer, **options))
            return started[-1]

        client = await JobClient.connect(redis.url, queue=queue)
        yield Place(client, collector, start)
        for one in started:
            if one.code is None:
                one.drain()
        tracer.close()
        await client.close()


def traced(job: Job, **request: object) -> Job:
    changed = msgspec.structs.replace(job.request, **request)
    return msgspec.structs.replace(job, request=changed, trace=f"00-{TRACE}-{PARENT}-01")


async def test_a_job_s_span_joins_the_carried_trace(place: Place) -> None:
    place.start()
    job = traced(drawing(candidates=2), partial_images=1)
    await place.client.submit(job)
    await place.client.wait(job.id, WAIT_S)
    span = place.collector.wait_for(rudolph_job_id=job.id)
    assert (span.name, span.kind, span.service) == ("text2image", "consumer", "rudolph-worker")
    assert (span.trace_id, span.parent, span.failed) == (TRACE, PARENT, False)
    assert span.events == ["first_partial"]
    seconds = [span.attributes.pop(f"rudolph.job.{part}_seconds") for part in ("queue", "compute")]
    assert all(0 < part < WAIT_S for part in seconds)
    assert span.seconds > 0
    assert span.attributes == {
        "rudolph.task": "text2image",
        "rudolph.job.id": job.id,
        "rudolph.job.attempt": 1,
        "rudolph.job.rows": 2,
        "rudolph.job.outcome": "succeeded",
        "rudolph.worker": "w-1",
        "rudolph.model": "tiny-v2",
        "rudolph.revision": "r-1",
    }


async def test_a_failed_job_is_an_error_and_a_cancelled_one_is_not(place: Place) -> None:
    place.start()
    refused = traced(drawing(), prompt="")
    await place.client.submit(refused)
    await place.client.wait(refused.id, WAIT_S)
    span = place.collector.wait_for(rudolph_job_id=refused.id)
    assert (span.failed, span.attributes["rudolph.job.outcome"]) == (True, "failed")
    assert span.attributes["error.type"] == "invalid_text"
    long = traced(drawing(candidates=250))
    await place.client.submit(long)
    await until_state(place.client, long.id, JobState.RUNNING)
    await place.client.cancel(long.id)
    span = place.collector.wait_for(rudolph_job_id=long.id)
    assert (span.failed, span.attributes["rudolph.job.outcome"]) == (False, "cancelled")


async def test_an_attempt_that_was_given_back_is_not_reported(place: Place) -> None:
    first = place.start(drain_s=0.0)
    job = traced(drawing(candidates=24))
    await place.client.submit(job)
    await until_state(place.client, job.id, JobState.RUNNING)
    first.drain()
    assert (await place.client.status(job.id)).state is JobState.QUEUED
    place.start()
    await place.client.wait(job.id, WAIT_S)
    place.collector.wait_for(rudolph_job_id=job.id, rudolph_job_outcome="succeeded")
    assert len(place.collector.spans) == 1


@pytest.mark.parametrize("traces", [False, True])
async def test_a_worker_process_loads_the_sdk_only_where_it_is_asked_for(
    redis: RedisServer, tiny_v2: Path, traces: bool
) -> None:
    queue = f"test-{uuid.uuid4().hex}"
    settings = {
        "RUDOLPH_MODEL": str(tiny_v2),
        "RUDOLPH_REDIS_URL": redis.url,
        "RUDOLPH_QUEUE_NAME": queue,
        "RUDOLPH_DEVICE": "cpu",
        "RUDOLPH_DTYPE": "float32",
        "RUDOLPH_CPU_THREADS": "1",
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "RUDOLPH_"))}
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} if traces else {}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers", cwd=ROOT, env=clean | settings | endpoint, stderr=subprocess.PIPE
    )
    client = await JobClient.connect(redis.url, queue=queue)
    try:
        submitted = await client.submit(drawing())
        reading = asyncio.create_task(process.communicate())
        await client.wait(submitted.id, WAIT_S)
        process.send_signal(signal.SIGTERM)
        _, output = await reading
    finally:
        if process.returncode is None:
            process.kill()
        await client.close()
    log = output.decode()
    assert process.returncode == 0
    assert "telemetry.tracing" in log
    # redis-py imports the SDK's metrics where the SDK is installed.
    for module in ("telemetry.otlp", "opentelemetry.sdk.trace", "opentelemetry.exporter"):
        assert (module in log) is traces
