"""API keys: what is closed, what a key may use, and that one tenant does not see another's jobs."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.quotas import Bucket
from app.settings import Settings
from tests.app.conftest import Running, running_api
from tests.support.redis_servers import RedisServer

ANNA, BORIS = "ключ-анны-0123456789".encode().hex(), "b" * 32


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg, arg-type]


def entry(name: str, key: str, **more: object) -> dict[str, object]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


@pytest.fixture(scope="module")
def closed(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    boris = entry("boris", BORIS, requests_per_minute=5, candidates_per_minute=10)
    path.write_text(json.dumps([entry("anna", ANNA), boris]))
    with running_api(redis_url, api_keys_file=path) as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/v1/models", "/v1/jobs/x", "/nothing", "/healthy", "/docs/", "/playground/nothing.js"],
)
def test_every_route_with_data_is_closed(closed: Running, path: str) -> None:
    with closed.client() as http:
        reply = http.get(path)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="rudolph"'
    assert reply.json()["error"]["type"] == "authentication_error"
    assert reply.json()["error"]["code"] == "missing_api_key"
    assert "Authorization: Bearer" in reply.json()["error"]["message"]


def test_health_stays_open(closed: Running) -> None:
    with closed.client() as http:
        assert http.get("/health/live").status_code == 200
        assert http.get("/health/ready").status_code == 200


@pytest.mark.parametrize("value", ["Bearer wrong", "Basic YTpi", "Bearer", ANNA, f"Bearer {ANNA}x"])
def test_a_wrong_key_opens_nothing(closed: Running, value: str) -> None:
    with closed.client() as http:
        reply = http.post("/v1/text2text", json={"prompt": "а"}, headers={"Authorization": value})
    assert reply.status_code == 401
    assert ANNA not in reply.text


@pytest.mark.parametrize("path", ["/", "/playground/main.js", "/docs", "/docs/reference.js", "/openapi.json"])
def test_static_pages_are_open_and_are_not_charged(closed: Running, path: str) -> None:
    with closed.client() as http:
        reply = http.get(path)
    assert reply.status_code == 200
    assert not [name for name in reply.headers if name.startswith("x-ratelimit")]


def test_pages_that_are_switched_off_are_closed_like_any_unknown_path(redis_url: str) -> None:
    keys = f"anna={ANNA}"
    with (
        running_api(redis_url, worker=False, api_keys=keys, playground=False, docs=False) as api,
        api.client() as http,
    ):
        paths = ("/", "/playground/main.js", "/docs", "/openapi.json")
        assert [http.get(path).status_code for path in paths] == [401] * 4


def test_a_key_opens_the_routes(closed: Running) -> None:
    with closed.client(headers=bearer(ANNA)) as http:
        assert http.post("/v1/text2text", json={"prompt": "а"}).status_code == 200
        assert http.get("/v1/models").status_code == 200


def test_quotas_are_told_in_headers_and_end_in_429(closed: Running) -> None:
    with closed.client(headers=bearer(BORIS)) as http:
        first = http.post("/v1/text2image", json={"prompt": "а", "candidates": 8})
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit-requests"] == "5"
        assert first.headers["x-ratelimit-remaining-requests"] == "4"
        assert first.headers["x-ratelimit-limit-candidates"] == "10"
        assert first.headers["x-ratelimit-remaining-candidates"] == "2"
        second = http.post("/v1/text2image", json={"prompt": "а", "candidates": 8})
        assert second.status_code == 429
        assert second.json()["error"]["code"] == "candidate_quota_exceeded"
        assert 1 <= int(second.headers["retry-after"]) <= 120
        replies = [http.get("/v1/jobs/x") for _ in range(5)]
        assert replies[-1].status_code == 429
        assert replies[-1].json()["error"]["code"] == "request_quota_exceeded"
        assert replies[-1].headers["x-ratelimit-remaining-requests"] == "0"
        assert replies[-1].json()["error"]["type"] == "rate_limit_error"


def test_all_processes_of_a_queue_count_one_quota(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("boris", BORIS, requests_per_minute=6, candidates_per_minute=10)]))
    with (
        running_api(redis_url, api_keys_file=path, queue_name="shared") as one,
        running_api(redis_url, api_keys_file=path, queue_name="shared", worker=False) as two,
        one.client(headers=bearer(BORIS)) as first,
        two.client(headers=bearer(BORIS)) as second,
    ):
        drawn = first.post("/v1/text2image", json={"prompt": "а", "candidates": 8})
        assert drawn.headers["x-ratelimit-remaining-candidates"] == "2"
        refused = second.post("/v1/text2image", json={"prompt": "а", "candidates": 8})
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "candidate_quota_exceeded"
        assert refused.headers["x-ratelimit-remaining-requests"] == "4"
        statuses = [http.get("/v1/jobs/x").status_code for http in (first, second) * 4]
        assert statuses == [404] * 4 + [429] * 4


def test_a_repeated_job_gives_its_candidates_back(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("boris", BORIS, candidates_per_minute=10)]))
    with running_api(redis_url, api_keys_file=path) as api, api.client(headers=bearer(BORIS)) as http:
        keyed = {"Idempotency-Key": "one"}
        for _ in range(3):
            reply = http.post("/v1/text2image", json={"prompt": "а", "candidates": 4}, headers=keyed)
            assert reply.status_code == 200
            assert reply.headers["x-ratelimit-remaining-candidates"] == "6"


def test_guidance_runs_and_costs_two_sequences_a_candidate(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("boris", BORIS, candidates_per_minute=10)]))
    with running_api(redis_url, api_keys_file=path) as api, api.client(headers=bearer(BORIS)) as http:
        for guidance, rest in ((0, "7"), (0.5, "1")):
            body = {"prompt": "а", "candidates": 3, "guidance": guidance}
            reply = http.post("/v1/text2image", json=body)
            assert reply.headers["x-ratelimit-remaining-candidates"] == rest


def test_a_key_without_quota_gets_no_image_decoded(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("boris", BORIS, candidates_per_minute=10)]))
    with running_api(redis_url, api_keys_file=path) as api, api.client(headers=bearer(BORIS)) as http:
        damaged = {"image": "iVBORw0KGgo=", "candidates": 6}
        for _ in range(3):
            refused = http.post("/v1/image2text", json=damaged)
            assert (refused.status_code, refused.headers["x-ratelimit-remaining-candidates"]) == (422, "10")
        assert http.post("/v1/text2image", json={"prompt": "а", "candidates": 8}).status_code == 200
        assert http.post("/v1/image2text", json=damaged).status_code == 429


def test_quotas_hold_in_each_process_while_the_queue_is_away(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("boris", BORIS, requests_per_minute=3)]))
    with (
        RedisServer(tmp_path) as server,
        running_api(server.url, api_keys_file=path, worker=False) as api,
        api.client(headers=bearer(BORIS)) as http,
    ):
        assert http.get("/metrics").headers["x-ratelimit-remaining-requests"] == "2"
        server.kill()
        assert [http.get("/metrics").status_code for _ in range(3)] == [200, 200, 429]


def test_a_job_of_another_tenant_does_not_exist(redis_url: str) -> None:
    keys = f"anna={ANNA},boris={BORIS}"
    with running_api(redis_url, api_keys=keys) as api, api.client() as http:
        body = {"task": "text2text", "input": {"prompt": "а"}}
        job = http.post("/v1/jobs", json=body, headers=bearer(ANNA)).json()
        path = f"/v1/jobs/{job['id']}"
        assert http.get(path, headers=bearer(ANNA)).status_code == 200
        unknown = http.get("/v1/jobs/job_unknown", headers=bearer(BORIS)).json()
        for reply in (http.get(path, headers=bearer(BORIS)), http.delete(path, headers=bearer(BORIS))):
            assert reply.status_code == 404
            assert reply.json() == unknown
        assert http.get(f"{path}/events", headers=bearer(BORIS)).status_code == 404


def test_one_tenants_idempotency_keys_are_not_anothers(redis_url: str) -> None:
    with running_api(redis_url, api_keys=f"anna={ANNA},boris={BORIS}") as api, api.client() as http:
        ids = {
            http.post(
                "/v1/text2text", json={"prompt": "а"}, headers={**bearer(key), "Idempotency-Key": "one"}
            ).json()["id"]
            for key in (ANNA, BORIS)
        }
        assert len(ids) == 2


def test_keys_are_not_shown_with_the_settings() -> None:
    assert ANNA not in repr(settings(api_keys=f"anna={ANNA}"))


def test_a_bucket_refills_evenly_and_lends_to_a_large_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bucket = Bucket(60)
    assert bucket.take(90) == 0
    assert bucket.take(1) == pytest.approx(31)
    now[0] += 31
    assert bucket.take(1) == 0
    assert bucket.remaining == 0


def test_cors_is_off_unless_asked_for(http: httpx.Client, redis_url: str) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in http.options("/v1/text2text", headers=asked).headers
    with running_api(redis_url, cors_origins=("https://a.example",)) as api, api.client() as client:
        reply = client.options("/v1/text2text", headers=asked)
        assert reply.headers["access-control-allow-origin"] == "https://a.example"
