"""The hub's task API: bodies as `InferenceClient` and curl send them, and what is refused."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from PIL import Image

from jobs.contract.requests import (
    AnswerRequest,
    ClassifyRequest,
    Image2TextRequest,
    Task,
    Text2ImageRequest,
    Text2TextRequest,
)
from tests.app.conftest import Running
from tests.app.worker import MODEL, picture

PNG = base64.b64encode(picture(1)).decode()
FILE = picture(1)


def last(api: Running) -> Any:
    assert api.worker
    return api.worker.requests[-1]


@pytest.mark.parametrize("path", ["/", "/hf", "/hf/text-to-image"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_an_image_comes_as_a_file_of_the_accepted_kind(http: httpx.Client, path: str, kind: str) -> None:
    body = {"inputs": "кот", "parameters": {"width": 96, "height": 48, "seed": 5}}
    reply = http.post(path, json=body, headers={"accept": f"image/{kind}"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, f"image/{kind}")
    assert reply.headers["x-seed"] == "5"
    with Image.open(io.BytesIO(reply.content)) as image:
        assert image.size == (96, 48)


def test_parameters_of_an_image_ask_for_one_without_accept(http: httpx.Client) -> None:
    for body in (
        {"inputs": "кот", "parameters": {"width": 64}},
        {"inputs": PNG, "parameters": {"prompt": "кот"}},
    ):
        assert http.post("/", json=body).headers["content-type"] == "image/png"


def test_one_side_is_that_of_the_other_and_settings_reach_the_worker(
    http: httpx.Client, api: Running
) -> None:
    body = {"inputs": "кот", "parameters": {"height": 64, "temperature": 0, "guidance": 0.5}}
    reply = http.post("/hf/text-to-image", json=body)
    with Image.open(io.BytesIO(reply.content)) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    request = last(api)
    assert isinstance(request, Text2ImageRequest)
    assert (request.sampling.top_k, request.guidance) == (1, 0.5)


@pytest.mark.parametrize("path", ["/", "/hf/image-to-image"])
def test_an_image_is_drawn_again_for_a_text(http: httpx.Client, api: Running, path: str) -> None:
    body = {"inputs": PNG, "parameters": {"prompt": "кот"}}
    reply = http.post(path, json=body, headers={"accept": "image/png"})
    assert reply.status_code == 200, reply.text
    request = last(api)
    assert isinstance(request, Text2ImageRequest)
    assert request.image_prompt
    assert (request.image_prompt.image, request.image_prompt.keep_share) == (FILE, 0.5)


@pytest.mark.parametrize("path", ["/", "/hf", "/hf/image-to-text"])
@pytest.mark.parametrize("kind", [None, "image/png", "application/octet-stream"])
def test_a_file_as_the_body_is_described(
    http: httpx.Client, api: Running, path: str, kind: str | None
) -> None:
    reply = http.post(path, content=FILE, headers={"content-type": kind} if kind else {})
    assert reply.status_code == 200, reply.text
    (text,) = reply.json()
    assert set(text) == {"generated_text"}
    assert isinstance(last(api), Image2TextRequest)
    assert last(api).image == FILE


def test_generation_parameters_may_be_nested(http: httpx.Client, api: Running) -> None:
    inner = {"max_new_tokens": 5, "do_sample": False}
    http.post("/hf/image-to-text", json={"inputs": PNG, "parameters": {"generation_parameters": inner}})
    assert (last(api).max_tokens, last(api).sampling.top_k, last(api).candidates) == (5, 1, 1)


@pytest.mark.parametrize("path", ["/", "/hf/zero-shot-image-classification"])
@pytest.mark.parametrize("inputs", [PNG, {"image": PNG}])
def test_labels_come_best_first_with_probabilities(
    http: httpx.Client, api: Running, path: str, inputs: Any
) -> None:
    parameters = {"candidate_labels": ["кот", "пёс", "дом"], "hypothesis_template": "это {}"}
    reply = http.post(path, json={"inputs": inputs, "parameters": parameters})
    scores = [item["score"] for item in reply.json()]
    assert sum(scores) == pytest.approx(1)
    assert scores == sorted(scores, reverse=True)
    request = last(api)
    assert isinstance(request, ClassifyRequest)
    assert (request.classes, request.template) == (("кот", "пёс", "дом"), "это {}")


@pytest.mark.parametrize("path", ["/", "/hf/text-generation"])
def test_a_text_is_continued_with_or_without_the_prompt(http: httpx.Client, api: Running, path: str) -> None:
    body = {"inputs": "кот", "parameters": {"max_new_tokens": 3, "seed": 1, "details": True}}
    (text,) = http.post(path, json=body).json()
    assert text["generated_text"] == " 0 1"
    assert text["details"] == {
        "finish_reason": "length",
        "generated_tokens": 3,
        "seed": 1,
        "prefill": [],
        "tokens": [],
    }
    assert isinstance(last(api), Text2TextRequest)
    full = http.post(path, json={"inputs": "кот", "parameters": {"seed": 1, "return_full_text": True}}).json()
    assert full == [{"generated_text": "кот 0 1"}]


def test_a_stream_adds_up_to_the_text(http: httpx.Client) -> None:
    body = {"inputs": "кот", "parameters": {"seed": 1}, "stream": True}
    with http.stream("POST", "/hf/text-generation", json=body) as reply:
        lines = [line for line in reply.iter_lines() if line.startswith("data:")]
    events = [json.loads(line.removeprefix("data:")) for line in lines]
    assert "".join(event["token"]["text"] for event in events) == events[-1]["generated_text"] == " 0 1"
    assert events[-1]["details"]["finish_reason"] == "eos_token"
    assert [event["index"] for event in events] == list(range(1, len(events) + 1))


@pytest.fixture(scope="module")
def answering(start_api: Any) -> Iterator[Running]:
    with start_api(model=msgspec.structs.replace(MODEL, tasks=tuple(Task))) as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/hf/visual-question-answering"])
def test_a_question_is_answered_where_the_checkpoint_can(answering: Running, path: str) -> None:
    with answering.client() as http:
        for body in ({"inputs": {"image": PNG, "question": "кто?"}}, {"inputs": PNG, "question": "кто?"}):
            reply = http.post(path, json=body)
            assert reply.json() == [{"answer": "да", "score": 1.0}]
            request = last(answering)
            assert isinstance(request, AnswerRequest)
            assert (request.question, request.image) == ("кто?", FILE)


def test_a_checkpoint_without_questions_says_so(http: httpx.Client) -> None:
    reply = http.post("/", json={"inputs": PNG, "question": "кто?"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "unsupported_task")


LABELS = {"candidate_labels": ["кот", "пёс"]}


@pytest.mark.parametrize(
    ("task", "body", "status", "param"),
    [
        ("text-to-image", {"parameters": {}}, 422, "inputs"),
        ("text-to-image", {"inputs": ""}, 422, "inputs"),
        ("text-to-image", {"inputs": "кот", "parameters": {"width": 4}}, 422, "parameters.width"),
        (
            "text-to-image",
            {"inputs": "кот", "parameters": {"negative_prompt": "пёс"}},
            400,
            "parameters.negative_prompt",
        ),
        ("text-to-image", {"inputs": "кот", "parameters": {"candidates": 999}}, 422, "parameters.candidates"),
        ("image-to-image", {"inputs": PNG}, 422, "parameters"),
        ("image-to-text", {"inputs": "кот"}, 422, "inputs"),
        ("image-to-text", {"inputs": "https://example.org/a.png"}, 422, "inputs"),
        ("image-to-text", {"inputs": PNG, "parameters": {"num_beams": 4}}, 400, "parameters.num_beams"),
        ("zero-shot-image-classification", {"inputs": PNG}, 422, "parameters"),
        ("zero-shot-image-classification", {"inputs": "кот", "parameters": LABELS}, 422, "inputs"),
        (
            "zero-shot-image-classification",
            {"inputs": PNG, "parameters": {**LABELS, "hypothesis_template": "это"}},
            422,
            "parameters.hypothesis_template",
        ),
        (
            "text-generation",
            {"inputs": "кот", "parameters": {"grammar": {"type": "json"}}},
            400,
            "parameters.grammar",
        ),
        (
            "text-generation",
            {"inputs": "кот", "stream": True, "parameters": {"best_of": 2}},
            422,
            "parameters.best_of",
        ),
        (
            "image-to-text",
            {"inputs": PNG, "parameters": {"generation_parameters": {"num_beams": 4}}},
            400,
            "parameters.generation_parameters.num_beams",
        ),
        ("text-generation", {"inputs": ["кот", "пёс"]}, 422, "inputs"),
        ("text-generation", {"inputs": "неверно"}, 422, "inputs"),
    ],
)
def test_faults_name_the_field(
    http: httpx.Client, task: str, body: dict[str, Any], status: int, param: str
) -> None:
    reply = http.post(f"/hf/{task}", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param), reply.text


def test_fields_without_effect_are_named_in_a_header(http: httpx.Client) -> None:
    parameters = {"num_inference_steps": 20, "guidance_scale": 7.5, "lora": "x"}
    body = {"inputs": "кот", "parameters": parameters, "options": {"wait_for_model": True}}
    reply = http.post("/hf/text-to-image", json=body)
    assert reply.headers["x-warnings"] == "no_effect, unknown_field"


def test_a_body_of_another_kind_is_refused(http: httpx.Client) -> None:
    reply = http.post("/hf/image-to-text", content=b"inputs=1", headers={"content-type": "text/plain"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (415, "Content-Type")
    reply = http.post("/hf/image-to-text", content=FILE, headers={"content-encoding": "gzip"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_encoding")
    assert http.post("/hf/image-to-text", content=b"").status_code == 422


def test_keys_close_the_address_without_a_task_but_not_the_page(start_api: Any) -> None:
    with start_api(api_keys="anna=" + "k" * 32) as api, api.client() as http:
        assert http.get("/").status_code == 200
        assert http.post("/", json={"inputs": "кот"}).status_code == 401
        allowed = http.post("/", json={"inputs": "кот"}, headers={"Authorization": "Bearer " + "k" * 32})
        assert allowed.status_code == 200
