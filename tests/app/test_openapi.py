"""Requests generated from the OpenAPI document: nothing they hold may bring the server to a 5xx."""

import json
import re
from collections.abc import Iterator

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.example_images import EXAMPLE_IMAGE, EXAMPLE_MASK
from tests.app.conftest import Running

CASES = 8
ADDRESS = {"image_url": EXAMPLE_IMAGE}
PART = {"type": "input_image", "image_url": EXAMPLE_IMAGE}
OTHER_FORMS = [
    ("/v1/images/edits", {"prompt": "кот", "image": [EXAMPLE_IMAGE], "mask": {"image_url": EXAMPLE_MASK}}),
    ("/v1/images/edits", {"prompt": "кот", "images": [ADDRESS, ADDRESS]}),
    (
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "system", "content": "Отвечай кратко."},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": EXAMPLE_IMAGE}}]},
                {"role": "assistant", "content": None},
            ]
        },
    ),
    ("/v1/rerank", {"query": "кот", "documents": [EXAMPLE_IMAGE, {"image": EXAMPLE_IMAGE}]}),
    ("/v1/responses", {"input": "кот", "tools": [{"type": "image_generation", "size": "64x64"}]}),
    ("/v1/responses", {"input": [{"role": "user", "content": [PART]}]}),
    (
        "/v1/responses",
        {
            "input": [
                {"type": "image_generation_call", "result": EXAMPLE_IMAGE},
                {"type": "message", "role": "user", "content": "кот"},
            ],
            "tools": [{"type": "image_generation", "action": "edit"}],
        },
    ),
]
"""Bodies in other forms than the examples of the document."""
FILLERS = {"a", "an", "its", "of", "the", "this"}


@pytest.fixture(scope="module")
def document(api: Running) -> object:
    with api.client() as http:
        return schemathesis.openapi.from_dict(http.get("/openapi.json").json())


def operations(document: object) -> list[object]:
    return [result.ok() for result in document.get_all_operations()]  # type: ignore[attr-defined]


def test_generated_requests_never_break_the_server(api: Running, document: object) -> None:
    asked = 0
    for operation in operations(document):
        if operation.path.endswith("/events"):  # type: ignore[attr-defined]
            continue

        @settings(
            max_examples=CASES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=st.one_of(
                operation.as_strategy(), operation.as_strategy(schemathesis.GenerationMode.NEGATIVE)
            )
        )  # type: ignore[attr-defined]
        def check(case: object) -> None:
            nonlocal asked
            reply = case.call(base_url=api.url, timeout=20)  # type: ignore[attr-defined]
            asked += 1
            assert reply.status_code < 500, (reply.status_code, reply.text[:300])
            if reply.status_code >= 400:
                assert set(reply.json()["error"]) == {"message", "type", "param", "code"}

        check()
    assert asked > 50


def test_replies_conform_to_the_document(api: Running, document: object) -> None:
    bodies = {
        "/v1/text2image": {"prompt": "кот", "n": 2, "candidates": 3, "return_codes": True},
        "/v1/text2text": {"prompt": "кот", "n": 2},
        "/v1/jobs": {"task": "text2text", "input": {"prompt": "кот"}},
    }
    checked = 0
    for operation in operations(document):
        if operation.path in bodies and operation.method == "post":  # type: ignore[attr-defined]
            case = operation.Case(body=bodies[operation.path], media_type="application/json")  # type: ignore[attr-defined]
            case.call_and_validate(base_url=api.url)
            checked += 1
    assert checked == len(bodies)


def test_every_documented_route_exists(http: httpx.Client) -> None:
    for path, methods in http.get("/openapi.json").json()["paths"].items():
        for method in methods:
            reply = http.request(method.upper(), path.replace("{id}", "job_x"))
            assert reply.status_code not in (405, 500), (path, method)


def test_the_document_has_nothing_that_breaks_generators(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["servers"][0]["url"].startswith("http://127.0.0.1")
    seen = 0

    def check(value: object, path: str) -> None:
        nonlocal seen
        if isinstance(value, list):
            for index, item in enumerate(value):
                check(item, f"{path}[{index}]")
        if isinstance(value, dict):
            seen += 1
            assert value.get("default", "") is not None, path
            for name, item in value.get("properties", {}).items() if "type" in value else ():
                assert item != {"type": "null"}, f"{path}.{name}"
            for name, item in value.items():
                check(item, f"{path}.{name}")

    check(document, "")
    assert seen > 500


def test_every_reference_leads_to_a_schema(http: httpx.Client) -> None:
    """Two schemas of one name get longer names, and references that are written by hand lead nowhere."""
    document = http.get("/openapi.json").json()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert len(names) > 40
    assert names <= set(document["components"]["schemas"])


def test_every_field_and_parameter_is_described(http: httpx.Client) -> None:
    """In its own words, or as a bare reference to a type that is described."""
    document = http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    described = {path: _description(item, schemas) for path, item in _items(document, "")}
    assert len(described) > 500
    assert [path for path, text in described.items() if not text] == []
    assert [path for path, text in described.items() if _only_names(text, path.rpartition(".")[2])] == []


def _items(value: object, path: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield path and schema of every field and parameter of the document."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _items(item, f"{path}[{index}]")
    if not isinstance(value, dict):
        return
    if value.get("type") == "object":
        yield from ((f"{path}.{name}", field) for name, field in value.get("properties", {}).items())
    if "in" in value and "schema" in value:
        yield f"{path}.{value['name']}", value
    for name, item in value.items():
        if name not in ("example", "examples", "default"):
            yield from _items(item, f"{path}.{name}")


def _description(item: dict[str, object], schemas: dict[str, dict[str, str]]) -> str:
    own = item.get("description") or schemas.get(str(item.get("$ref")).rpartition("/")[2], {}).get(
        "description"
    )
    return str(own or "")


def _only_names(text: str, name: str) -> bool:
    """Whether a description has no word besides those of the name."""
    return set(re.findall(r"[a-z0-9]+", text.lower())) - FILLERS <= set(name.lower().split("_"))


def test_bodies_that_are_accepted_conform_to_their_schema(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    bodies = list(OTHER_FORMS)
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        bodies += [(path, content["application/json"]["example"])] if content else []
    assert len(bodies) > len(OTHER_FORMS) + 15
    for path, body in bodies:
        operation = document["paths"][path]["post"]
        content = operation["requestBody"]["content"]
        schema = content["application/json"]["schema"] | {"components": document["components"]}
        jsonschema.validate(body, schema, cls=jsonschema.Draft202012Validator)
        reply = http.post(path, json=body)
        is_served = reply.is_success or reply.json()["error"]["code"] == "unsupported_task"
        assert is_served, (path, reply.text)
        headers = operation["responses"][str(reply.status_code)]["headers"]
        assert own_headers(reply) <= set(headers), path
        if "image/png" in operation["responses"].get("200", {}).get("content", {}):
            image = http.post(path, json=body, headers={"Accept": "image/png"})
            assert "x-seed" in own_headers(image) <= set(headers), path


def own_headers(reply: httpx.Response) -> set[str]:
    """Return the headers for clients, without those for browsers."""
    names = {name for name in reply.headers if name.startswith(("x-", "openai-"))}
    return names - {"x-content-type-options", "x-frame-options"}


def test_the_document_allows_one_tool_as_the_server_does(http: httpx.Client) -> None:
    tool = {"type": "image_generation"}
    refused = http.post("/v1/responses", json={"input": "кот", "tools": [tool, tool]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools[1]")
    schema = http.get("/openapi.json").json()["components"]["schemas"]["ResponsesBody"]
    assert schema["properties"]["tools"]["anyOf"][0]["maxItems"] == 1


def test_the_data_of_events_conforms_to_the_document(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    checked: dict[str, int] = {}
    for path, methods in document["paths"].items():
        post = methods.get("post", {})
        stream = post.get("responses", {}).get("200", {}).get("content", {}).get("text/event-stream")
        if stream is None:
            continue
        field = stream["schema"]["properties"]["data"]
        schema = field.get("anyOf", [field])[0]["contentSchema"]
        assert ("[DONE]" in json.dumps(field)) == ("completions" in path)
        example = post["requestBody"]["content"]["application/json"]["example"]
        reply = http.post(path, json={**example, "stream": True})
        for line in reply.text.splitlines():
            data = line.removeprefix("data: ")
            if data not in (line, "[DONE]"):
                assert "error" not in json.loads(data), data
                jsonschema.validate(json.loads(data), schema | {"components": document["components"]})
                checked[path] = checked.get(path, 0) + 1
    assert len(checked) == 9
    assert all(checked.values())


def test_every_reply_in_text_has_an_example_of_its_schema(http: httpx.Client) -> None:
    """A task that the bundled checkpoint cannot do has its refusal."""
    document = http.get("/openapi.json").json()
    components = {"components": document["components"]}
    missing: list[str] = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            replies = operation["responses"]
            contents = [content for reply in replies.values() for content in reply.get("content", {}).items()]
            for kind, content in contents:
                if kind == "application/json" and "example" in content:
                    jsonschema.validate(content["example"], content["schema"] | components)
            success = replies["202" if "200" not in replies else "200"].get("content", {})
            refusal = replies.get("409", {}).get("content", {}).get("application/json", {})
            missing += [
                f"{path} {kind}"
                for kind, content in success.items()
                if not kind.startswith("image/") and "example" not in {**content, **refusal}
            ]
    assert missing == []
