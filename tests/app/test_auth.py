"""API keys: what is closed, what a key may use, and that one tenant does not see another's jobs."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.auth import Bucket, load_keys
from app.settings import Settings
from tests.app.conftest import Running, running_api
from tests.jobs.servers import RedisServer

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
    "path", ["/", "/docs", "/openapi.json", "/metrics", "/v1/jobs/x", "/nothing", "/healthy"]
)
def test_every_route_but_health_is_closed(closed: Running, path: str) -> None:
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


def test_a_key_opens_the_routes(closed: Running) -> None:
    with closed.client(headers=bearer(ANNA)) as http:
        assert http.post("/v1/text2text", json={"prompt": "а"}).status_code == 200
        assert http.get("/docs").status_code == 200


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


def test_quotas_hold_in_each_process_while_the_queue_is_away(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("boris", BORIS, requests_per_minute=3)]))
    with (
        RedisServer(tmp_path) as server,
        running_api(server.url, api_keys_file=path, worker=False) as api,
        api.client(headers=bearer(BORIS)) as http,
    ):
        assert http.get("/docs").headers["x-ratelimit-remaining-requests"] == "2"
        server.kill()
        assert [http.get("/docs").status_code for _ in range(3)] == [200, 200, 429]


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


def test_the_settings_file_never_needs_a_key_itself(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("anna", ANNA, tenant="дом")]))
    ring = load_keys(settings(api_keys_file=path))
    found = ring.find(ANNA)
    assert found is not None
    assert (found.name, found.tenant) == ("anna", "дом")
    assert ring.find(ANNA + "x") is None
    assert ring.find("\udcff") is None


@pytest.mark.parametrize(
    "entries",
    ['[{"name": "a"}]', '[{"name": "a", "sha256": "zz"}]', '[{"name": "a", "sha256": "00"}]', "[5]", "{"],
)
def test_a_wrong_keys_file_is_named_at_the_start(tmp_path: Path, entries: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(entries)
    with pytest.raises(ValueError, match=r"keys\.json"):
        load_keys(settings(api_keys_file=path))


def test_a_wrong_quota_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps([entry("a", ANNA, requests_per_minute=0)]))
    with pytest.raises(ValueError, match="requests_per_minute"):
        load_keys(settings(api_keys_file=path))


def test_a_short_key_in_the_environment_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="entry 0") as caught:
        load_keys(settings(api_keys="anna=geheim"))
    assert "geheim" not in str(caught.value)


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
