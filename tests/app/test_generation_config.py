"""Sampling settings that a request leaves out: the announced model's own, on every route."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from jobs.contract.requests import IMAGE_SAMPLING, TEXT_SAMPLING, Sampling, Task
from tests.app.conftest import Running
from tests.app.test_openai import DATA_URI, chat_messages
from tests.app.worker import MODEL, EchoWorker, picture, transparent

IMAGES = Sampling(temperature=0.5, top_k=60, top_p=0.9)
CAPTIONS = Sampling(temperature=0.4, top_k=50, top_p=0.7, min_p=0.1)
TEXTS = Sampling(temperature=0.3, top_k=40, top_p=0.6)
EXAMPLES = {"text2image": [{"prompt": "сова", "seed": 7}]}
OWN = msgspec.structs.replace(
    MODEL, sampling={"text2image": IMAGES, "image2text": CAPTIONS, "text2text": TEXTS}, examples=EXAMPLES
)


@pytest.fixture(scope="module")
def own(start_api: Any) -> Iterator[Running]:
    with start_api(model=OWN) as running:
        yield running


def sampling_after(api: Running, path: str, **sent: Any) -> Sampling:
    """Post to a route, and return the sampling settings of the job that came of it."""
    assert api.worker is not None
    count = len(api.worker.requests)
    with api.client() as http:
        reply = http.post(path, **sent)
        assert reply.is_success, reply.text
        deadline_s = time.monotonic() + 10
        while len(api.worker.requests) == count:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    return api.worker.requests[-1].sampling  # type: ignore[union-attr]


def bodies(**sampling: Any) -> list[tuple[str, dict[str, Any], Sampling]]:
    """Every route that samples: its path, what is sent, and the settings of a model with its own."""
    draw, read = {"prompt": "кот", **sampling}, {"image": DATA_URI, **sampling}
    file = {"image": ("a.png", picture(1))}
    masked = {"image": ("a.png", picture(1)), "mask": ("m.png", transparent())}
    plain = {name: str(value) for name, value in sampling.items() if value is not None}
    return [
        ("/v1/text2image", {"json": draw}, IMAGES),
        ("/v1/image2text", {"json": read}, CAPTIONS),
        ("/v1/image2text", {"files": file, "data": plain}, CAPTIONS),
        ("/v1/text2text", {"json": draw}, TEXTS),
        ("/v1/jobs", {"json": {"task": "text2image", "input": draw}}, IMAGES),
        ("/v1/jobs", {"json": {"task": "image2text", "input": read}}, CAPTIONS),
        ("/v1/jobs", {"json": {"task": "text2text", "input": draw}}, TEXTS),
        ("/v1/images/generations", {"json": draw}, IMAGES),
        ("/v1/images/edits", {"files": masked, "data": {"prompt": "кот", **plain}}, IMAGES),
        ("/v1/chat/completions", {"json": {"messages": chat_messages(), **sampling}}, CAPTIONS),
        ("/v1/completions", {"json": draw}, TEXTS),
    ]


@pytest.mark.parametrize(("path", "sent", "expected"), bodies())
def test_what_is_left_out_is_the_models_own(
    own: Running, path: str, sent: dict[str, Any], expected: Sampling
) -> None:
    assert sampling_after(own, path, **sent) == expected


@pytest.mark.parametrize(
    ("path", "sent", "expected"), bodies(temperature=None, top_k=None, top_p=None, min_p=None)
)
def test_null_is_left_out(own: Running, path: str, sent: dict[str, Any], expected: Sampling) -> None:
    assert sampling_after(own, path, **sent) == expected


@pytest.mark.parametrize(("path", "sent", "expected"), bodies(temperature=0.9, top_p=1, min_p=0.25))
def test_what_is_given_counts(own: Running, path: str, sent: dict[str, Any], expected: Sampling) -> None:
    assert sampling_after(own, path, **sent) == Sampling(0.9, expected.top_k, 1.0, 0.25)


def test_a_checkpoint_without_the_file_has_the_published_defaults(api: Running) -> None:
    assert sampling_after(api, "/v1/text2image", json={"prompt": "кот"}) == IMAGE_SAMPLING
    assert sampling_after(api, "/v1/image2text", json={"image": DATA_URI}) == TEXT_SAMPLING
    assert sampling_after(api, "/v1/text2text", json={"prompt": "кот"}) == TEXT_SAMPLING


def test_models_shows_defaults_and_examples(own: Running, http: httpx.Client) -> None:
    with own.client() as client:
        (entry,) = client.get("/v1/models").json()["data"]
    assert entry["generation_config"] == {
        "text2image": {"temperature": 0.5, "top_k": 60, "top_p": 0.9, "min_p": 0.0},
        "image2text": {"temperature": 0.4, "top_k": 50, "top_p": 0.7, "min_p": 0.1},
        "text2text": {"temperature": 0.3, "top_k": 40, "top_p": 0.6, "min_p": 0.0},
        "examples": EXAMPLES,
    }
    published = http.get("/v1/models/tiny").json()["generation_config"]
    assert published["text2image"] == {
        "temperature": 1.0,
        "top_k": 768,
        "top_p": 0.99,
        "min_p": 0.0,
    }
    assert published["examples"] == {}


def announce(api: Running, **changes: Any) -> None:
    """Give the worker another model, and wait until the API has seen it."""
    assert api.worker is not None
    model = msgspec.structs.replace(OWN, **changes)
    api.worker.info = msgspec.structs.replace(api.worker.info, model=model)
    expected = msgspec.to_builtins(model.sampling_of(Task.TEXT2IMAGE))
    deadline_s = time.monotonic() + 10
    with api.client() as http:
        while http.get("/v1/models/tiny").json()["generation_config"]["text2image"] != expected:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_a_repeated_key_finds_its_job_after_the_defaults_have_changed(start_api: Any) -> None:
    with start_api(model=OWN) as api, api.client() as http:
        for path, body in (
            ("/v1/jobs", {"task": "text2image", "input": {"prompt": "кот"}}),
            ("/v1/images/generations", {"prompt": "кот"}),
        ):
            headers = {"Idempotency-Key": uuid.uuid4().hex}
            announce(api)
            first = http.post(path, json=body, headers=headers)
            announce(api, sampling={})
            second = http.post(path, json=body, headers=headers)
            assert (first.status_code, second.status_code) == ((202, 202) if "jobs" in path else (200, 200))
            if path == "/v1/jobs":
                assert first.json()["id"] == second.json()["id"]
            else:
                assert first.headers["x-job-id"] == second.headers["x-job-id"]


def test_a_key_tells_a_given_value_from_one_left_out(own: Running) -> None:
    """Also where the value given is the published one, which the model replaces where it is left out."""
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    with own.client(headers=headers) as http:
        assert http.post("/v1/text2image", json={"prompt": "кот"}).status_code == 200
        given = http.post("/v1/text2image", json={"prompt": "кот", "temperature": 1.0})
        assert given.status_code == 422
        assert given.json()["error"]["code"] == "idempotency_key_reused"


def test_of_two_workers_the_newest_checkpoint_decides(start_api: Any) -> None:
    with start_api(model=OWN) as api:
        newer = msgspec.structs.replace(OWN, created_s=OWN.created_s + 1, sampling={})
        second = EchoWorker(api.settings.redis_url, api.settings.queue_name, worker_id="w0", model=newer)
        try:
            deadline_s = time.monotonic() + 10
            with api.client() as http:
                while http.get("/v1/models").json()["data"][0]["created"] != int(newer.created_s):
                    assert time.monotonic() < deadline_s
                    time.sleep(0.05)
                entry = http.get("/v1/models").json()["data"][0]
        finally:
            second.close()
    assert entry["generation_config"]["text2image"]["top_k"] == 768
