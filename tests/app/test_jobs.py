"""Asynchronous jobs: accepted, asked for, followed, cancelled; what a repeated key or a lost client does."""

import itertools
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.app.conftest import Running


def submit(http: httpx.Client, prompt: str = "кот", **more: Any) -> dict[str, Any]:
    body = {"task": "text2image", "input": {"prompt": prompt, **more.pop("input", {})}, **more}
    reply = http.post("/v1/jobs", json=body)
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"
    return reply.json()


def state_of(http: httpx.Client, job_id: str) -> dict[str, Any]:
    return http.get(f"/v1/jobs/{job_id}").json()


def wait_until(http: httpx.Client, job_id: str, *states: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + 10
    while (job := state_of(http, job_id))["state"] not in states:
        assert time.monotonic() < deadline_s, job
        time.sleep(0.02)
    return job


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events as (event, id, data); comments are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if not line and fields:
            yield {"event": fields.get("event"), "id": fields.get("id"), "data": json.loads(fields["data"])}
            fields = {}
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


def follow(http: httpx.Client, job_id: str, **headers: str) -> list[dict[str, Any]]:
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as reply:
        assert reply.status_code == 200, reply.read()
        assert reply.headers["content-type"].startswith("text/event-stream")
        return list(events(reply.iter_lines()))


def test_a_queued_job_is_answered_at_once_and_collected_later(http: httpx.Client) -> None:
    job = submit(http, priority=-3)
    assert job["priority"] == -3
    assert job["result"] is None
    done = wait_until(http, job["id"], "succeeded")
    assert done["result"]["images"][0]["b64_json"]
    assert done["result"]["id"] == job["id"]
    assert done["error"] is None
    assert done["timings"]["total_ms"] is not None


def test_a_queued_job_names_the_model_that_it_was_checked_against(start_api: Any) -> None:
    with start_api() as api, api.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
        api.worker.close()
        job = submit(http)
        assert (job["state"], job["model"]) == ("queued", "tiny@r1")


def test_prefer_respond_async_queues_any_task(http: httpx.Client) -> None:
    reply = http.post("/v1/text2text", json={"prompt": "раз"}, headers={"Prefer": "respond-async, wait=5"})
    assert reply.status_code == 202
    assert reply.headers["preference-applied"] == "respond-async"
    done = wait_until(http, reply.json()["id"], "succeeded")
    assert done["result"]["texts"]
    assert http.get(reply.headers["location"]).json()["task"] == "text2text"


def test_a_failed_job_shows_its_error(http: httpx.Client) -> None:
    job = wait_until(http, submit(http, "сбой")["id"], "failed")
    assert job["error"]["code"] == "internal_error"
    assert job["result"] is None


def test_a_running_job_is_cancelled_by_delete(http: httpx.Client, api: Running) -> None:
    job = submit(http, "жди")
    wait_until(http, job["id"], "running")
    assert http.delete(f"/v1/jobs/{job['id']}").status_code == 200
    assert wait_until(http, job["id"], "cancelled")["error"]["code"] == "cancelled"


def test_cancelling_a_finished_job_changes_nothing(http: httpx.Client) -> None:
    job = submit(http)
    wait_until(http, job["id"], "succeeded")
    assert http.delete(f"/v1/jobs/{job['id']}").json()["state"] == "succeeded"


def test_a_job_past_its_deadline_expires(http: httpx.Client) -> None:
    job = submit(http, "жди", deadline_s=1)
    assert wait_until(http, job["id"], "expired")["error"] is not None


def test_events_end_with_the_whole_result(http: httpx.Client) -> None:
    seen = follow(http, submit(http, input={"seed": 4})["id"])
    assert seen[-1]["event"] == "completed"
    assert seen[-1]["data"]["images"][0]["seed"] == 4
    assert all(event["id"] for event in seen)
    assert [event["data"]["state"] for event in seen if event["event"] == "state"][-1] == "succeeded"


def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(http: httpx.Client) -> None:
    job = submit(http, "жди")
    wait_until(http, job["id"], "running")
    with http.stream("GET", f"/v1/jobs/{job['id']}/events") as reply:
        first = next(events(reply.iter_lines()))
    http.delete(f"/v1/jobs/{job['id']}")
    rest = follow(http, job["id"], **{"Last-Event-ID": first["id"]})
    assert first not in rest
    assert rest[-1]["event"] == "error"
    assert rest[-1]["data"]["error"]["code"] == "cancelled"


def test_the_last_event_has_an_id_of_its_own_that_ends_an_event_source(http: httpx.Client) -> None:
    job = submit(http)
    wait_until(http, job["id"], "succeeded")
    seen = follow(http, job["id"])
    assert seen[-1]["event"] == "completed"
    ids = [event["id"] for event in seen]
    assert ids[-1] not in ids[:-1]
    # A client that has had the event before the last one gets the last one again.
    again = follow(http, job["id"], **{"Last-Event-ID": ids[-1].removesuffix("-end")})
    assert [event["event"] for event in again][-1] == "completed"
    address = f"/v1/jobs/{job['id']}/events"
    assert http.get(address, headers={"Last-Event-ID": ids[-1]}).status_code == 204
    assert http.get("/v1/jobs/job_x/events", headers={"Last-Event-ID": ids[-1]}).status_code == 404


def test_the_error_of_a_failed_job_ends_an_event_source_too(http: httpx.Client) -> None:
    job = submit(http, "сбой")
    wait_until(http, job["id"], "failed")
    seen = follow(http, job["id"])
    assert seen[-1]["event"] == "error"
    address = f"/v1/jobs/{job['id']}/events"
    assert http.get(address, headers={"Last-Event-ID": seen[-1]["id"]}).status_code == 204


def test_a_bad_last_event_id_is_refused(http: httpx.Client) -> None:
    job = submit(http)
    reply = http.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": "вчера".encode()})  # type: ignore[dict-item]
    assert reply.status_code == 422
    assert reply.json()["error"]["param"] == "Last-Event-ID"


def test_a_quiet_stream_is_kept_alive_by_comments_that_make_no_event(start_api: Any) -> None:
    with start_api(event_keep_alive_s=0.1) as api, api.client() as http:
        job = submit(http, "жди")
        with http.stream("GET", f"/v1/jobs/{job['id']}/events") as reply:
            lines = list(itertools.islice(reply.iter_lines(), 12))
        assert sum(line.startswith(":") for line in lines) > 4
        # A blank line after a comment would be an empty event for some readers.
        for before, after in itertools.pairwise(lines):
            assert not (before.startswith(":") and not after)
        http.delete(f"/v1/jobs/{job['id']}")


def test_a_waiting_job_is_told_its_place(start_api: Any) -> None:
    with start_api(event_keep_alive_s=0.1) as api, api.client() as http:
        assert api.worker
        assert http.post("/v1/text2text", json={"prompt": "кот"}).is_success
        api.worker.close()
        jobs = [submit(http) for _ in range(3)]
        with http.stream("GET", f"/v1/jobs/{jobs[2]['id']}/events") as reply:
            note = next(line for line in reply.iter_lines() if line.startswith(": queued"))
        assert note.startswith(": queued, 2 ahead")
        body = {"prompt": "кот", "stream": True}
        with http.stream("POST", "/v1/images/generations", json=body) as reply:
            note = next(line for line in reply.iter_lines() if line.startswith(": queued"))
        assert note.startswith(": queued, 3 ahead")


def test_streams_are_limited_and_their_slots_come_back(start_api: Any) -> None:
    with start_api(tenant_max_event_streams=1) as api, api.client() as http:
        job = submit(http, "жди")
        with http.stream("GET", f"/v1/jobs/{job['id']}/events"):
            refused = http.get(f"/v1/jobs/{job['id']}/events")
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "too_many_streams"
            assert int(refused.headers["retry-after"]) >= 1
        http.delete(f"/v1/jobs/{job['id']}")
        time.sleep(0.3)
        assert follow(http, job["id"])[-1]["event"] == "error"


def test_the_same_key_gives_the_same_job_even_without_a_seed(http: httpx.Client, api: Running) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    replies = [http.post("/v1/text2image", json={"prompt": "кот"}, headers=key).json() for _ in range(2)]
    assert replies[0]["id"] == replies[1]["id"]
    assert replies[0]["images"] == replies[1]["images"]
    assert api.worker is not None
    assert api.worker.done.count(replies[0]["id"]) == 1


def test_the_same_key_at_the_same_moment_runs_once(http: httpx.Client) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with ThreadPoolExecutor(8) as pool:
        ask = lambda _: http.post("/v1/text2text", json={"prompt": "раз"}, headers=key).json()["id"]  # noqa: E731
        assert len(set(pool.map(ask, range(8)))) == 1


def test_the_same_key_for_another_request_is_refused(http: httpx.Client) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    http.post("/v1/text2text", json={"prompt": "раз"}, headers=key)
    reply = http.post("/v1/text2text", json={"prompt": "два"}, headers=key)
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "idempotency_key_reused"
    assert reply.json()["error"]["param"] == "Idempotency-Key"


def send_and_drop(api: Running, body: bytes, *extra: str) -> None:
    """A client that sends a whole request and closes its socket without waiting for the answer."""
    lines = ["POST /v1/text2image HTTP/1.1", "Host: localhost", "Content-Type: application/json", *extra]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    connection = api.socket()
    connection.sendall(head + body)
    time.sleep(0.3)
    connection.close()


def cancelled_soon(api: Running, count: int) -> bool:
    assert api.worker is not None
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s and len(api.worker.cancelled) < count:
        time.sleep(0.02)
    return len(api.worker.cancelled) == count


def test_a_client_that_leaves_takes_its_job_with_it(start_api: Any) -> None:
    with start_api() as api, api.client() as http:
        send_and_drop(api, json.dumps({"prompt": "жди"}).encode())
        assert cancelled_soon(api, 1)
        text = http.get("/metrics").text
        assert 'rudolph_requests_total{route="/v1/text2image",status="499"} 1.0' in text


def test_an_asynchronous_job_survives_its_client(start_api: Any) -> None:
    with start_api() as api, api.client() as http:
        send_and_drop(api, json.dumps({"prompt": "жди"}).encode(), "Prefer: respond-async")
        time.sleep(0.5)
        assert api.worker is not None
        assert not api.worker.cancelled
        assert "rudolph_jobs_running 1.0" in http.get("/metrics").text


def test_a_job_with_a_key_waits_a_little_for_its_client_to_come_back(start_api: Any) -> None:
    with start_api(disconnect_grace_s=1.0) as api, api.client() as http:
        key = uuid.uuid4().hex
        send_and_drop(api, json.dumps({"prompt": "жди"}).encode(), f"Idempotency-Key: {key}")
        assert api.worker is not None
        assert not api.worker.cancelled
        headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
        found = http.post("/v1/text2image", json={"prompt": "жди"}, headers=headers).json()
        assert found["state"] == "running"
        assert cancelled_soon(api, 1)


def test_each_absence_has_its_own_grace(start_api: Any) -> None:
    """A client that returns in time, again and again, keeps its job; the last absence ends it."""
    with start_api(disconnect_grace_s=1.0) as api:
        key, body = uuid.uuid4().hex, json.dumps({"prompt": "жди"}).encode()
        assert api.worker is not None
        for _ in range(4):
            send_and_drop(api, body, f"Idempotency-Key: {key}")  # stays 0.3 s
            time.sleep(0.6)
            assert not api.worker.cancelled
        assert len(api.worker.requests) == 1
        assert cancelled_soon(api, 1)


def test_leaving_before_the_job_is_submitted_costs_nothing(start_api: Any) -> None:
    with start_api() as api, api.client() as http:
        connection = api.socket()
        head = b"POST /v1/text2image HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b'Content-Length: 500\r\n\r\n{"prompt": ')
        connection.close()
        time.sleep(0.3)
        assert "rudolph_jobs_running 0.0" in http.get("/metrics").text
        assert api.services.bodies._held == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/text2image", {"prompt": "жди"}),
        ("/v1/images/generations", {"prompt": "жди"}),
        ("/v1/completions", {"prompt": "жди"}),
        ("/v1/responses", {"input": "жди", "tools": [{"type": "image_generation"}]}),
        ("/hf/text-to-image", {"inputs": "жди"}),
    ],
)
def test_a_request_that_waits_does_not_count_its_body(
    start_api: Any, path: str, body: dict[str, Any]
) -> None:
    with start_api() as api:
        assert api.worker is not None
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with api.socket() as connection:
            connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            deadline_s = time.monotonic() + 10
            while not api.worker.requests:
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            time.sleep(0.1)
            assert api.services.bodies._held == 0
