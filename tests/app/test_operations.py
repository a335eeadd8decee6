"""Health, metrics, the reference page, and starting without what is needed."""

import re
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.settings import Settings
from jobs.redis.embedded import EmbeddedRedis
from tests.app.conftest import Running, running_api
from tests.app.worker import MODEL
from tests.support.redis_servers import RedisServer


def test_live_waits_for_nothing(redis_url: str) -> None:
    with running_api("redis://127.0.0.1:1/0", worker=False) as api, api.client() as http:
        assert http.get("/health/live").json() == {"status": "ok"}


def test_ready_names_each_check(http: httpx.Client) -> None:
    reply = http.get("/health/ready")
    assert reply.status_code == 200
    checks = {"redis": "ok", "model": "ok", "api": "ok", "workers": "ok"}
    assert reply.json() == {"status": "ready", "checks": checks, "warnings": []}


def test_before_the_first_worker_it_is_not_ready_and_says_so(redis_url: str) -> None:
    with running_api(redis_url, worker=False) as api, api.client() as http:
        reply = http.get("/health/ready")
        assert reply.status_code == 503
        assert reply.json()["checks"]["workers"] == "none is live"
        assert "no worker has reported a model yet" in reply.json()["error"]["message"]
        asked = http.post("/v1/text2image", json={"prompt": "кот"})
        assert asked.status_code == 503
        assert asked.json()["error"]["code"] == "no_worker"
        assert asked.headers["retry-after"] == "10"


def test_it_is_ready_without_a_worker_once_the_queue_has_a_model(redis_url: str) -> None:
    queue = f"model-{uuid.uuid4().hex}"
    with running_api(redis_url, queue_name=queue) as first, first.client() as http:
        assert http.get("/health/ready").json()["checks"]["workers"] == "ok"
    # The worker has left, and this process has never seen one.
    with running_api(redis_url, queue_name=queue, worker=False) as api, api.client() as http:
        reply = http.get("/health/ready")
        assert reply.status_code == 200, reply.text
        assert reply.json()["checks"]["workers"] == "none is live"
        assert http.get("/v1/models").json()["data"][0]["id"] == MODEL.name
        queued = http.post("/v1/jobs", json={"task": "text2text", "input": {"prompt": "раз"}})
        assert queued.status_code == 202


def test_ready_and_metrics_report_a_server_that_puts_jobs_at_risk(redis_url: str) -> None:
    options = {"appendonly": "no", "maxmemory": 1 << 30, "maxmemory-policy": "allkeys-lru"}
    with RedisServer(**options) as server, running_api(server.url) as api, api.client() as http:
        reply = http.get("/health/ready")
        assert reply.status_code == 503
        assert "maxmemory-policy" in reply.json()["checks"]["redis"]
        assert "Set `maxmemory-policy noeviction`." in reply.json()["error"]["message"]
        assert any("appendonly yes" in warning for warning in reply.json()["warnings"])
        with server.client() as redis:
            redis.config_set("maxmemory-policy", "noeviction")
        assert http.get("/health/ready").status_code == 200
        assert samples(http)["rudolph_redis_writable"] == 1
        assert samples(http)["rudolph_redis_replicas"] == 0
        with server.client() as redis:
            redis.config_set("min-replicas-to-write", 1)
        reply = http.get("/health/ready")
        assert reply.status_code == 503
        assert reply.json()["checks"]["redis"] != "ok"
        values = samples(http)
        assert (values["rudolph_redis_up"], values["rudolph_redis_writable"]) == (1, 0)
        server.freeze()
        values = samples(http)
        assert values["rudolph_redis_up"] == 0
        assert "rudolph_jobs_waiting" not in values
        server.thaw()
        with server.client() as redis:
            redis.config_set("min-replicas-to-write", 0)  # the worker says that it leaves


def samples(http: httpx.Client) -> dict[str, float]:
    """Return the samples of /metrics that have no labels."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for sample in family.samples
        if not sample.labels
    }


def test_metrics_show_the_age_of_a_job_and_what_has_ended(redis_url: str) -> None:
    with running_api(redis_url) as api, api.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
        assert api.worker is not None
        api.worker.close()
        time.sleep(1.1)
        http.post("/v1/jobs", json={"task": "text2text", "input": {"prompt": "раз"}})
        time.sleep(0.3)
        values = samples(http)
        assert 0.3 <= values["rudolph_oldest_waiting_seconds"] < 5
        assert values["rudolph_oldest_unfinished_seconds"] >= 0.3
        assert values["rudolph_queue_jobs_limit"] == 1000
        assert values["rudolph_queue_bytes"] > 0
        assert values["rudolph_jobs_stored_again_total"] == 0
        text = http.get("/metrics").text
        assert 'rudolph_jobs_ended_total{state="succeeded"} 1.0' in text
        assert 'rudolph_jobs_ended_total{state="dead"} 0.0' in text
        assert "rudolph_worker_starts_total{" in text


def test_a_draining_api_is_not_ready(redis_url: str) -> None:
    with running_api(redis_url) as api, api.client() as http:
        api.services.draining = True
        assert http.get("/health/ready").json()["checks"]["api"] == "draining"


def test_requests_wait_for_a_worker_that_was_there_before(redis_url: str) -> None:
    with running_api(redis_url) as api, api.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
        assert api.worker is not None
        api.worker.close()
        time.sleep(1.1)
        reply = http.post("/v1/text2text", json={"prompt": "раз"}, headers={"Prefer": "respond-async"})
        assert reply.status_code == 202
        assert http.get(f"/v1/jobs/{reply.json()['id']}").json()["position"] == 0


def test_the_api_starts_without_redis_and_finds_it_later(tmp_path: Path) -> None:
    with EmbeddedRedis() as first:
        url = first.start(tmp_path)
    with running_api(url, worker=False) as api, api.client() as http:
        ready = http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"]["redis"] != "ok"
        asked = http.post("/v1/text2image", json={"prompt": "кот"})
        assert asked.status_code == 503
        assert asked.json()["error"]["code"] == "queue_unavailable"
        assert 1 <= int(asked.headers["retry-after"]) <= 120
        assert http.get("/metrics").status_code == 200
        with EmbeddedRedis() as second:
            assert second.start(tmp_path) == url
            deadline_s = time.monotonic() + 15
            while http.get("/health/ready").json()["checks"]["redis"] != "ok":
                assert time.monotonic() < deadline_s
                time.sleep(0.1)


def test_a_missing_redis_url_is_told_at_the_start() -> None:
    from fastapi.testclient import TestClient

    application = create_app(Settings(_env_file=None, redis_url=None))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="RUDOLPH_REDIS_URL"), TestClient(application):
        pass


def test_metrics_join_this_process_the_queue_and_the_workers(http: httpx.Client) -> None:
    http.post("/v1/text2text", json={"prompt": "раз"})
    http.get("/nobody/knows/this")
    families = {family.name: family for family in text_string_to_metric_families(http.get("/metrics").text)}
    assert families["rudolph_workers_live"].samples[0].value == 1
    assert families["rudolph_jobs_waiting"].samples[0].value == 0
    assert families["rudolph_jobs_running"].samples[0].value == 0
    assert families["rudolph_dead_letters"].samples[0].value == 0
    assert families["rudolph_images"].samples[0].labels == {"worker": "w1"}
    routes = {sample.labels["route"] for sample in families["rudolph_requests"].samples}
    assert {"/v1/text2text", "unmatched"} <= routes
    assert not any("nobody" in route for route in routes)
    assert families["rudolph_request_seconds"].type == "histogram"


def test_job_ids_do_not_become_labels(http: httpx.Client) -> None:
    http.get("/v1/jobs/job_0123")
    assert 'route="/v1/jobs/{id}"' in http.get("/metrics").text
    assert "job_0123" not in http.get("/metrics").text


def test_docs_need_nothing_from_outside(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    parts = re.findall(r'(?:src|href)="(?!#|data:)([^"]+)"', page.text)
    assert parts
    for part in parts:
        assert not part.startswith(("/", "http"))  # the server may be below a path
        assert http.get(f"/{part}").status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_docs_and_metrics_can_be_left_out(redis_url: str) -> None:
    with running_api(redis_url, worker=False, docs=False, metrics=False) as api, api.client() as http:
        assert http.get("/docs").status_code == 404
        assert http.get("/openapi.json").status_code == 404
        assert http.get("/metrics").status_code == 404


def test_the_document_describes_every_field_with_a_russian_example(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    operation = document["paths"]["/v1/text2image"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert re.search("[а-я]", example["prompt"])
    schema = document["components"]["schemas"]["Text2ImageBody"]
    for field in ("top_p", "temperature", "guidance", "n", "candidates", "top_k"):
        assert schema["properties"][field]["description"]
        number, null = schema["properties"]["top_p"]["anyOf"]
        assert (number["maximum"], null["type"]) == (1, "null")
    assert schema["additionalProperties"] is False


def test_shutdown_ends_open_streams_and_cancels_what_nobody_waits_for(start_api: Any) -> None:
    with start_api(shutdown_grace_s=1) as api:
        worker = api.worker
        from threading import Thread

        def ask() -> None:
            with api.client() as http:
                try:
                    http.post("/v1/text2text", json={"prompt": "жди"})
                except httpx.HTTPError:
                    return

        asking = Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        api.server.should_exit = True
        asking.join(10)
        deadline_s = time.monotonic() + 5
        while not worker.cancelled and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert worker.cancelled


def test_no_global_is_left_behind_by_two_applications(redis_url: str) -> None:
    with running_api(redis_url) as one, running_api(redis_url, worker=False) as two:
        assert one.services is not two.services
        with two.client() as http:
            assert http.get("/health/ready").status_code == 503


def test_the_log_has_the_request_and_not_its_picture(api: Running, log: Any) -> None:
    with api.client() as http:
        http.post("/v1/image2text", json={"image": "AAAA" * 50}, headers={"x-request-id": "find-me"})
    lines = [line for line in log.getvalue().splitlines() if "find-me" in line]
    assert lines
    assert "AAAA" not in "".join(lines)
    assert '"status": 422' in lines[-1]
