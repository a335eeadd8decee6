"""A client that lost its OpenAI stream sends the request again, with its key and the last event's id."""

from typing import Any

import httpx
import pytest

from tests.app.conftest import running_api
from tests.app.test_jobs import events

IMAGES = ("/v1/images/generations", {"prompt": "кот", "seed": 3, "partial_images": 3, "stream": True})
TEXTS = ("/v1/completions", {"prompt": "медленно", "seed": 1, "stream": True})


def stream(http: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    with http.stream("POST", path, json=body, headers=headers) as reply:
        assert reply.status_code == 200, reply.read()
        return list(events(line.replace("[DONE]", '"done"') for line in reply.iter_lines()))


@pytest.mark.parametrize(("path", "body"), [IMAGES, TEXTS])
def test_a_stream_continues_after_the_last_event_that_was_seen(
    http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": f"resume{path}"}
    whole = stream(http, path, body, **key)
    assert whole[-1]["id"].endswith("-end")
    for index, event in enumerate(whole[:-1]):
        following = [later for later in whole[index:] if later["id"] != event["id"]]
        rest = stream(http, path, body, **key, **{"Last-Event-ID": event["id"]})
        assert [later["id"] for later in rest] == [later["id"] for later in following]
        assert text_of(whole[: index + 1]) + text_of(rest) == text_of(whole)


def text_of(seen: list[dict[str, Any]]) -> str:
    """The pieces of a text, joined; empty for images."""
    chunks = [event["data"] for event in seen if event["data"] != "done"]
    return "".join(choice["text"] for chunk in chunks for choice in chunk.get("choices", ()))


def test_an_id_without_a_job_to_resume_starts_from_the_beginning(http: httpx.Client) -> None:
    path, body = TEXTS
    seen = stream(http, path, body, **{"Last-Event-ID": "9999999999999-0"})
    chunks = [event["data"] for event in seen if event["data"] != "done"]
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == " 0 1"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/images/generations", {"prompt": "кот", "stream": True}),
        ("/v1/text2image", {"prompt": "кот", "stream": True}),
    ],
)
def test_a_refused_header_keeps_no_stream(redis_url: str, path: str, body: dict[str, object]) -> None:
    with (
        running_api(redis_url, tenant_max_event_streams=1) as api,
        httpx.Client(base_url=api.url, headers={"Accept": "text/event-stream"}, timeout=20) as http,
    ):
        for _ in range(2):
            assert http.post(path, json=body, headers={"Last-Event-ID": "x"}).status_code in {400, 422}
        assert http.post(path, json=body).status_code == 200
