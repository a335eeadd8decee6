"""No field of OpenAI's methods is ignored silently: each is done, harmless, stated, or refused."""

import base64
import inspect
import json
from typing import Any

import httpx
import openai
import pytest

from app.openai.parameters import PARAMETERS
from app.openai.responses.schemas import ResponsesBody
from app.openai.schemas import ChatBody, CompletionBody, EditsBody, GenerationsBody, VariationsBody
from tests.app.worker import picture, transparent

PNG = "data:image/png;base64," + base64.b64encode(picture(50)).decode()
MASK = "data:image/png;base64," + base64.b64encode(transparent()).decode()
CLIENT = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9")
METHODS: dict[type[Any], Any] = {
    GenerationsBody: CLIENT.images.generate,
    EditsBody: CLIENT.images.edit,
    VariationsBody: CLIENT.images.create_variation,
    ChatBody: CLIENT.chat.completions.create,
    CompletionBody: CLIENT.completions.create,
    ResponsesBody: CLIENT.responses.create,
}
TRANSPORT = {"extra_headers", "extra_query", "extra_body", "timeout"}
ROUTES: dict[type[Any], tuple[str, dict[str, Any]]] = {
    GenerationsBody: ("/v1/images/generations", {"prompt": "кот"}),
    EditsBody: ("/v1/images/edits", {"prompt": "кот", "image": PNG, "mask": MASK}),
    VariationsBody: ("/v1/images/variations", {"image": PNG}),
    ChatBody: (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]},
    ),
    CompletionBody: ("/v1/completions", {"prompt": "кот"}),
    ResponsesBody: (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PNG}]}]},
    ),
}


def methods_fields(body: type[Any]) -> set[str]:
    return set(inspect.signature(METHODS[body]).parameters) - TRANSPORT


def test_the_table_knows_every_body_and_puts_no_field_into_two_classes() -> None:
    assert set(PARAMETERS) == set(METHODS)
    for table in PARAMETERS.values():
        classes = (set(table.harmless), set(table.stated), set(table.refused))
        assert sum(map(len, classes)) == len(set().union(*classes))


@pytest.mark.parametrize("body", METHODS)
def test_every_field_of_the_sdks_method_has_a_class(body: type[Any]) -> None:
    table = PARAMETERS[body]
    known = set(body.model_fields) | table.harmless | set(table.stated) | set(table.refused)
    assert methods_fields(body) <= known


def values(name: str) -> Any:
    """Return a value that is not neutral."""
    return {
        "background": "transparent",
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "required",
        "functions": [{"name": "f"}],
        "function_call": {"name": "f"},
        "response_format": {"type": "json_object"},
        "modalities": ["text", "audio"],
        "logit_bias": {"5": 100},
        "logprobs": True,
        "quality": "hd",
        "style": "vivid",
        "moderation": {"mode": "block"},
        "complexity": "high",
        "input_fidelity": "high",
        "stream": True,
        "prompt": "кот",
        "use_beam_search": True,
        "ignore_eos": True,
        "echo": True,
    }.get(name, 1.5 if "penalty" in name else 2)


@pytest.mark.parametrize(
    ("body", "name"), [(body, name) for body, table in PARAMETERS.items() for name in table.refused]
)
def test_what_would_change_the_answer_is_refused(http: httpx.Client, body: type[Any], name: str) -> None:
    path, fields = ROUTES[body]
    reply = http.post(path, json={**fields, name: values(name)})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert name in error["message"]
    for neutral in (None, *PARAMETERS[body].refused[name]):
        accepted = http.post(path, json={**fields, name: neutral})
        assert accepted.status_code == 200, accepted.text
        assert "warnings" not in accepted.json()


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (body, name)
        for body, table in PARAMETERS.items()
        for name in table.stated
        if name != "moderation"  # it has neutral values only
    ],
)
def test_a_hint_without_effect_is_stated(http: httpx.Client, body: type[Any], name: str) -> None:
    path, fields = ROUTES[body]
    reply = http.post(path, json={**fields, name: values(name)})
    assert reply.status_code == 200, reply.text
    assert [(w["code"], w["param"]) for w in reply.json()["warnings"]] == [("no_effect", name)]
    assert reply.headers["x-warnings"] == "no_effect"


@pytest.mark.parametrize("body", METHODS)
def test_labels_and_caches_change_nothing(http: httpx.Client, body: type[Any]) -> None:
    path, fields = ROUTES[body]
    for name in PARAMETERS[body].harmless:
        reply = http.post(path, json={**fields, name: "anna"})
        assert reply.status_code == 200, reply.text
        assert "warnings" not in reply.json()


@pytest.mark.parametrize("body", METHODS)
def test_a_field_that_nobody_knows_is_named(http: httpx.Client, body: type[Any]) -> None:
    path, fields = ROUTES[body]
    reply = http.post(path, json={**fields, "num_inference_steps": 30, "empty": None})
    assert reply.status_code == 200
    (warning,) = reply.json()["warnings"]
    assert (warning["code"], warning["param"]) == ("unknown_field", "num_inference_steps")


@pytest.mark.parametrize(
    ("name", "value"),
    [("quality", "nonsense"), ("style", "cubist"), ("moderation", "off"), ("output_compression", 101)],
)
def test_nonsense_is_refused(http: httpx.Client, name: str, value: Any) -> None:
    reply = http.post("/v1/images/generations", json={"prompt": "кот", name: value})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == name


def test_a_form_is_held_to_the_same_table(http: httpx.Client) -> None:
    files = {"image": ("a.png", picture(1), "image/png")}
    refused = http.post("/v1/images/edits", files=files, data={"prompt": "к", "svg[model]": "x"})
    assert refused.json()["error"]["param"] == "svg"
    refused = http.post("/v1/images/variations", files=files, data={"partial_images": "2"})
    assert refused.json()["error"]["code"] == "unsupported_parameter"
    neutral = {"stream": "false", "partial_images": "0", "user": "anna", "background": "opaque"}
    assert "warnings" not in http.post("/v1/images/variations", files=files, data=neutral).json()
    stated = http.post("/v1/images/edits", files=files, data={"prompt": "к", "input_fidelity": "high"})
    assert stated.headers["x-warnings"] == "no_effect"


def test_a_streamed_picture_names_its_warnings_in_the_header(http: httpx.Client) -> None:
    body = {"prompt": "кот", "stream": True, "quality": "hd", "odd": 1}
    with http.stream("POST", "/v1/images/generations", json=body) as reply:
        assert reply.headers["x-warnings"] == "no_effect, unknown_field"
        assert "image_generation.completed" in reply.read().decode()


def test_the_reply_of_a_warning_is_still_what_the_sdk_reads(http: httpx.Client) -> None:
    reply = http.post("/v1/images/generations", json={"prompt": "кот", "style": "vivid"})
    assert openai.types.ImagesResponse.model_validate(json.loads(reply.text)).data
