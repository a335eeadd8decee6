"""What the API reports of itself and its queue: lines that can be joined, refusals, tenants, a pause."""

import asyncio
import base64
import io
import json
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families

from jobs.client.client import JobClient
from tests.app.conftest import Running, running_api
from tests.support.redis_servers import RedisServer

KEYS = {"first": "first-key-of-sixteen", "second": "second-key-of-sixteen"}
JOB = {"task": "text2text", "input": {"prompt": "жди"}}


@pytest.fixture(scope="module")
def keyed(redis_url: str) -> Generator[Running]:
    keys = ",".join(f"{name}={key}" for name, key in KEYS.items())
    with running_api(redis_url, api_keys=keys, tenant_max_jobs=1) as running:
        running.headers = {"Authorization": f"Bearer {KEYS['first']}"}
        yield running


@pytest.fixture
def http(keyed: Running) -> Generator[httpx.Client]:
    with keyed.client(headers=keyed.headers) as client:
        yield client


def series(http: httpx.Client, name: str) -> dict[str, float]:
    """Return the samples of a name by the values of their labels, joined by commas."""
    return {
        ",".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def change(api: Running, call: Callable[[JobClient], Any]) -> None:
    """Do what an operator does, from a client of its own."""

    async def run() -> None:
        assert api.settings.redis_url is not None
        client = await JobClient.connect(api.settings.redis_url, queue=api.settings.queue_name)
        await call(client)
        await client.close()

    asyncio.run(run())


def test_a_line_has_the_job_the_tenant_and_the_code_of_an_error(http: httpx.Client, log: io.StringIO) -> None:
    name = uuid.uuid4().hex
    job = http.post("/v1/jobs", json=JOB, headers={"x-request-id": f"{name}-1"}).json()["id"]
    refused = http.post("/v1/jobs", json=JOB, headers={"x-request-id": f"{name}-2"})
    assert refused.status_code == 429
    http.delete(f"/v1/jobs/{job}", headers={"x-request-id": f"{name}-3"})
    until(lambda: http.get(f"/v1/jobs/{job}").json()["state"] == "cancelled")
    http.post("/v1/text2text", json={"prompt": "раз"}, headers={"x-request-id": f"{name}-4"})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    by_request = {line["request_id"]: line for line in lines if line["event"] == "request"}
    first, second, third, fourth = (by_request[f"{name}-{number}"] for number in (1, 2, 3, 4))
    assert (first["job"], first["tenant"], first.get("code")) == (job, "first", None)
    assert (second["code"], second["tenant"], second.get("job")) == ("tenant_quota_exceeded", "first", None)
    assert third["job"] == job
    assert fourth["job"].startswith("job_")
    assert fourth["job"] != job


def test_accepted_jobs_are_counted_by_tenant_and_refusals_by_reason(
    keyed: Running, http: httpx.Client
) -> None:
    accepted = series(http, "rudolph_jobs_accepted_total").get("text2text,second", 0)
    refused = series(http, "rudolph_refusals_total").get("tenant_quota_exceeded", 0)
    with keyed.client(headers={"Authorization": f"Bearer {KEYS['second']}"}) as other:
        job = other.post("/v1/jobs", json=JOB).json()["id"]
        for _ in range(2):
            assert other.post("/v1/jobs", json=JOB).status_code == 429
        assert series(http, "rudolph_jobs_accepted_total")["text2text,second"] == accepted + 1
        assert series(http, "rudolph_refusals_total")["tenant_quota_exceeded"] == refused + 2
        other.delete(f"/v1/jobs/{job}")


def test_images_and_sequences_of_accepted_jobs_are_observed(http: httpx.Client, red_square: Path) -> None:
    names = ("rudolph_input_image_bytes_count", "rudolph_input_image_bytes_sum", "rudolph_job_sequences_sum")
    before = {name: series(http, name) for name in names}
    data = red_square.read_bytes()
    body = {"text": "кот", "images": [base64.b64encode(data).decode()] * 3}
    assert http.post("/v1/rank/images", json=body).status_code == 200
    assert http.post("/v1/rank/images", json=body | {"images": ["?"]}).status_code == 422
    rise = {name: series(http, name)["rank_images"] - before[name].get("rank_images", 0) for name in names}
    assert rise == dict(zip(names, (3, 3 * len(data), 3), strict=True))


def test_a_pause_is_seen_in_health_and_metrics(keyed: Running, http: httpx.Client) -> None:
    until(lambda: series(http, "rudolph_estimated_start_seconds") == {"": 0.0})
    change(keyed, lambda client: client.pause("new disk"))
    reply = http.get("/health/ready")
    assert reply.status_code == 200
    assert reply.json()["checks"]["workers"] == "paused by an operator: new disk"
    job = http.post("/v1/jobs", json=JOB).json()["id"]
    time.sleep(0.3)  # the worker looks for work
    assert http.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    assert series(http, "rudolph_queue_paused") == {"": 1.0}
    assert series(http, "rudolph_tenant_jobs_waiting") == {"first": 1.0}
    assert series(http, "rudolph_sequences_waiting") == {"": 1.0}
    assert series(http, "rudolph_estimated_start_seconds") == {}
    change(keyed, lambda client: client.resume())
    until(lambda: http.get(f"/v1/jobs/{job}").json()["state"] == "running")
    assert series(http, "rudolph_queue_paused") == {"": 0.0}
    http.delete(f"/v1/jobs/{job}")


def test_a_scrape_reads_the_counts_of_the_queue_once(
    keyed: Running, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[float] = []
    stats = keyed.services.client.stats

    async def counted() -> Any:
        reads.append(time.monotonic())
        return await stats()

    monkeypatch.setattr(keyed.services.client, "stats", counted)
    assert series(http, "rudolph_jobs_waiting") == {"": 0.0}
    assert len(reads) == 1


def test_the_process_reports_its_release_and_the_delay_of_its_loop(http: httpx.Client) -> None:
    (build,) = series(http, "rudolph_build_info")
    assert build.split(",")[0]
    until(lambda: series(http, "rudolph_event_loop_lag_seconds_count")[""] > 2)
    assert series(http, "process_resident_memory_bytes")[""] > 1e6
    assert not [name for name in http.get("/metrics").text.splitlines() if "_created" in name]


def test_open_metrics_are_sent_where_they_are_asked_for(http: httpx.Client) -> None:
    plain = http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    reply = http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_open_metrics(reply.text)}
    assert {"rudolph_requests", "rudolph_jobs_waiting", "rudolph_images"} <= names


def test_the_log_says_when_redis_goes_and_returns(log: io.StringIO) -> None:
    with RedisServer() as server, running_api(server.url) as api:
        assert api.worker is not None
        api.worker.close()
        before = len(log.getvalue())

        def events() -> list[tuple[str, str]]:
            lines = [json.loads(line) for line in log.getvalue()[before:].splitlines()]
            return [(line["event"], line.get("message", "")) for line in lines if "queue_" in line["event"]]

        with server.client() as redis:
            redis.config_set("min-replicas-to-write", 1)
            until(lambda: len(events()) == 1)
            redis.config_set("min-replicas-to-write", 0)
        until(lambda: len(events()) == 2)
        server.kill()
        until(lambda: len(events()) == 3)
        server.start()
        until(lambda: events()[-1][0] == "queue_available")
        refuses, again, away = events()[:3]
        assert refuses[0] == away[0] == "queue_unavailable"
        assert "NOREPLICAS" in refuses[1]
        assert again[0] == "queue_available"
