"""Requests generated from the OpenAPI document: nothing they hold may bring the server to a 5xx."""

import json
import re

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.app.conftest import Running

CASES = 8


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
