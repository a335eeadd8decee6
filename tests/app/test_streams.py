"""`stream: true` on the native routes: progress, partial results, and always a last event."""

import base64
import json
import time
from typing import Any

import httpx
import pytest

from tests.app.conftest import Running
from tests.app.test_jobs import cancelled_soon, events
from tests.app.worker import picture

PICTURE = base64.b64encode(picture(9)).decode()


def stream(http: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    with http.stream("POST", path, json={**body, "stream": True}, headers=headers) as reply:
        assert reply.status_code == 200, reply.read()
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-job-id"].startswith("job_")
        return list(events(reply.iter_lines()))


def test_a_streamed_picture_shows_progress_and_partial_pictures(http: httpx.Client) -> None:
    seen = stream(http, "/v1/text2image", {"prompt": "кот", "seed": 3, "partial_images": 2})
    partials = [event["data"] for event in seen if event["event"] == "partial_image"]
    assert [partial["partial_image_index"] for partial in partials] == [0, 1]
    assert base64.b64decode(partials[0]["b64_json"]).startswith(b"\x89PNG")
    assert [event["data"]["done"] for event in seen if event["event"] == "progress"][-1] == 4
    assert seen[-1]["event"] == "completed"
    plain = http.post("/v1/text2image", json={"prompt": "кот", "seed": 3}).json()
    assert seen[-1]["data"]["images"] == plain["images"]
    assert set(plain) == set(seen[-1]["data"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/text2text", {"prompt": "медленно"}),
        ("/v1/image2text", {"image": PICTURE, "template": "медленно"}),
    ],
)
def test_streamed_texts_grow_and_end_with_the_reply(
    http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    seen = stream(http, path, body)
    assert {"index": 0, "text": "текст 0 1"} in [e["data"] for e in seen if e["event"] == "partial_text"]
    assert seen[-1]["data"]["texts"]


def test_a_failed_stream_ends_with_the_error(http: httpx.Client) -> None:
    seen = stream(http, "/v1/text2image", {"prompt": "сбой"})
    assert seen[-1]["event"] == "error"
    assert set(seen[-1]["data"]["error"]) == {"message", "type", "param", "code"}


def test_a_stream_past_its_deadline_ends_with_an_error_and_cancels(start_api: Any) -> None:
    with start_api() as api, api.client() as http:
        seen = stream(http, "/v1/text2text", {"prompt": "жди"}, **{"x-deadline-s": "0.5"})
        assert seen[-1]["event"] == "error"
        assert seen[-1]["data"]["error"]["code"] == "deadline_exceeded"
        assert cancelled_soon(api, 1)


def test_a_reader_that_leaves_a_stream_takes_the_job_with_it(start_api: Any) -> None:
    with start_api() as api:
        body = json.dumps({"prompt": "жди", "stream": True}).encode()
        head = b"POST /v1/text2text HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with api.socket() as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert b"text/event-stream" in connection.recv(4096)
            time.sleep(0.2)
        assert cancelled_soon(api, 1)
        assert not api.services.streams._open


def test_no_stream_is_begun_for_which_there_is_no_place(start_api: Any) -> None:
    with start_api(max_event_streams=1) as api, api.client() as http:
        api.services.streams.acquire("another")
        reply = http.post("/v1/text2image", json={"prompt": "кот", "stream": True})
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "too_many_streams"
        assert not api.worker.done
        api.services.streams.release("another")
        assert stream(http, "/v1/text2image", {"prompt": "кот"})[-1]["event"] == "completed"
        with pytest.raises(AssertionError):
            stream(http, "/v1/text2image", {"prompt": "кот", "n": 99})
        # The client may have read the end before the server has released the slot.
        deadline = time.monotonic() + 5
        while api.services.streams._open and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not api.services.streams._open


def test_a_faulty_request_is_refused_before_the_stream_begins(http: httpx.Client) -> None:
    reply = http.post("/v1/text2image", json={"prompt": "кот", "stream": True, "n": 99})
    assert reply.status_code == 422
    assert reply.json()["error"]["param"] == "n"


def test_a_queued_job_does_not_stream(http: httpx.Client) -> None:
    body = {"task": "text2text", "input": {"prompt": "раз", "stream": True}}
    reply = http.post("/v1/jobs", json=body)
    assert reply.status_code == 422
    assert reply.json()["error"]["param"] == "input.stream"
    assert "events" in reply.json()["error"]["message"]


def test_many_streams_at_once_each_end_well(api: Running) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(seed: int) -> int:
        with api.client() as http:
            return stream(http, "/v1/text2image", {"prompt": "кот", "seed": seed})[-1]["data"]["images"][0][
                "seed"
            ]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == list(range(16))
