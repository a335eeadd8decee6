"""Every example of the OpenAPI document is accepted by the bundled checkpoint."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from scripts.pictures.replies import REPLIES, collect_replies
from tests.support.servers import Server

UNSUPPORTED = {"/v1/answer": 409, "/hf/visual-question-answering": 409}
"""What the bundled checkpoint cannot do."""


@pytest.fixture(scope="module")
def document(demo: Server) -> dict[str, Any]:
    return demo.client.get("/openapi.json").json()


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any], Any]]:
    """Path, content type, schema, example and operation of every body in the document that is no file."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = content["schema"]
                if schema.get("type") == "string":
                    continue
                if "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                yield path, kind, schema, content.get("example"), operation


def post(demo: Server, path: str, kind: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    if kind == "application/json":
        return demo.client.post(path, json=body, headers=headers)
    parts: list[tuple[str, Any]] = []
    for name, value in body.items():
        for item in value if isinstance(value, list) else [value]:
            if str(item).startswith("data:"):
                file = base64.b64decode(str(item).partition(",")[2])
                parts.append((name, (f"{name}.png", file)))
            else:
                parts.append((name, (None, str(item))))
    return demo.client.post(path, files=parts, headers=headers)


def changed(body: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The body with another value of one field, by the rules between fields."""
    rest = {key: item for key, item in body.items() if (key, name) != ("image", "images")}
    if name == "query" and value.startswith("data:image/"):
        rest["documents"] = ["клубника", "сова"]
    return rest | {name: value}


def check(path: str, reply: httpx.Response) -> None:
    if path in UNSUPPORTED:
        assert reply.status_code == UNSUPPORTED[path], (path, reply.text)
        assert reply.json()["error"]["code"] == "unsupported_task"
    else:
        assert reply.is_success, (path, reply.text)


def test_every_body_has_an_example_that_is_accepted(demo: Server, document: dict[str, Any]) -> None:
    posted = 0
    for path, kind, _, example, _ in bodies(document):
        assert example, f"{path} has no example of {kind}"
        check(path, post(demo, path, kind, example))
        posted += 1
    assert posted >= 18


def test_replies_to_the_examples_name_what_their_images_show() -> None:
    stored = json.loads(REPLIES.read_text(encoding="utf-8"))
    names = ("image2text", "classify", "rank_images", "rank_texts")
    replies = {name: stored[name]["200"]["application/json"] for name in names}
    assert replies["image2text"]["texts"][0]["text"] == "клубника"
    assert replies["classify"]["class"] == "клубника"
    assert replies["rank_images"]["ranking"][0]["index"] == 1
    assert replies["rank_texts"]["ranking"][0]["index"] == 1


def test_the_example_of_every_field_is_accepted(demo: Server, document: dict[str, Any]) -> None:
    posted = 0
    for path, kind, schema, example, _ in bodies(document):
        for name, field in schema["properties"].items():
            variants = [field, *field.get("anyOf", [])]
            for value in [value for variant in variants for value in variant.get("examples", [])]:
                check(path, post(demo, path, kind, changed(example, name, value)))
                posted += 1
    assert posted >= 15


def test_the_example_of_every_header_is_accepted(demo: Server, document: dict[str, Any]) -> None:
    posted = 0
    for path, kind, _, example, operation in bodies(document):
        for parameter in operation.get("parameters", []):
            for value in parameter["schema"].get("examples", []) if parameter["in"] == "header" else []:
                check(path, post(demo, path, kind, example, **{parameter["name"]: value}))
                posted += 1
    assert posted >= 12


def test_the_examples_of_the_checkpoint_are_accepted(demo: Server) -> None:
    (entry,) = demo.client.get("/v1/models").json()["data"]
    examples = entry["generation_config"]["examples"]
    assert set(examples) >= {"text2image", "image2text", "text2text", "classify", "rank_images", "rank_texts"}
    for task, inputs in examples.items():
        for body in inputs:
            reply = demo.client.post(f"/v1/{task.replace('rank_', 'rank/')}", json=body)
            assert reply.status_code == 200, (task, reply.text)


def shape(value: Any) -> Any:
    """The names of all fields; of a list, those of its first item."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else None


def test_the_examples_of_replies_have_the_fields_of_real_replies(
    demo: Server, document: dict[str, Any]
) -> None:
    """If this fails, `make readme-pictures` writes them again."""
    stored = json.loads(REPLIES.read_text(encoding="utf-8"))
    assert shape(stored) == shape(collect_replies(demo.url))
    shown: dict[str, dict[str, dict[str, Any]]] = {}
    for operation in (operation for methods in document["paths"].values() for operation in methods.values()):
        for status, reply in operation["responses"].items():
            for kind, content in reply.get("content", {}).items():
                if "example" in content:
                    replies = shown.setdefault(operation["operationId"], {}).setdefault(status, {})
                    replies[kind] = content["example"]
    assert shown == stored
