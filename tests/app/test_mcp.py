"""/mcp: tools as the official client calls them, with keys, quotas and limits of bodies; off by default."""

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import ValidationError

from app.mcp_endpoint.tools import TOOLS
from app.settings import Settings
from jobs.contract.requests import ClassifyRequest, Image2TextRequest, RankImagesRequest, RankTextsRequest
from tests.app.conftest import Running
from tests.app.test_huggingface import PNG
from tests.app.worker import picture

KEY = "k" * 32
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def open_api(start_api: Any) -> Iterator[Running]:
    with start_api(mcp=True) as running:
        yield running


@pytest.fixture
def client(open_api: Running) -> Client:
    """Tests connect it themselves: a connection must end in the task in which it began."""
    return Client(f"{open_api.url}/mcp")


def last(api: Running) -> Any:
    assert api.worker
    return api.worker.requests[-1]


def call(name: str, arguments: dict[str, Any], id: int = 1) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


async def test_tools_have_schemas_without_patterns(client: Client) -> None:
    async with client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == list(TOOLS)
    for tool in tools:
        assert tool.input_schema["type"] == "object"
        assert "pattern" not in json.dumps(tool.input_schema)
        assert all(
            "description" in field or "anyOf" in field for field in tool.input_schema["properties"].values()
        )


async def test_draw_returns_images_of_the_size_and_their_seeds(client: Client) -> None:
    async with client:
        reply = await client.call_tool("draw", {"prompt": "кот", "n": 2, "size": "64x48", "seed": 5})
    assert not reply.is_error
    assert [part.type for part in reply.content] == ["image", "image", "text"]
    assert reply.structured_content == {"seeds": [5, 6]}


async def test_the_other_tools_return_texts_and_probabilities(client: Client, open_api: Running) -> None:
    async with client:
        found = (await client.call_tool("describe", {"image": PNG, "template": "это"})).structured_content
        assert found
        assert found["texts"][0].startswith("текст 0")
        assert isinstance(last(open_api), Image2TextRequest)
        assert last(open_api).image == picture(1)
        found = (
            await client.call_tool("classify", {"image": PNG, "classes": ["кот", "пёс"]})
        ).structured_content
        assert found
        assert found["class"] == "пёс"
        assert sum(score["probability"] for score in found["scores"]) == pytest.approx(1)
        assert isinstance(last(open_api), ClassifyRequest)
        found = (await client.call_tool("rank", {"text": "кот", "images": [PNG, PNG]})).structured_content
        assert found
        assert [item["index"] for item in found["ranking"]] == [1, 0]
        assert isinstance(last(open_api), RankImagesRequest)
        await client.call_tool("rank", {"image": PNG, "texts": ["кот", "пёс"]})
        assert isinstance(last(open_api), RankTextsRequest)
        found = (await client.call_tool("continue", {"prompt": "кот", "max_tokens": 999})).structured_content
        assert found
        assert last(open_api).max_tokens == 16


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "param"),
    [
        ("draw", {"prompt": "кот", "n": 99}, "invalid_value", "n"),
        ("draw", {"prompt": "кот", "size": "huge"}, "invalid_size", "size"),
        ("draw", {"prompt": "кот", "colour": 1}, "unknown_field", "colour"),
        ("draw", {"prompt": "сбой"}, "internal_error", None),
        ("describe", {"image": "https://example.org/a.png"}, "picture_url_refused", "image"),
        ("rank", {"text": "кот", "texts": ["кот"]}, "invalid_value", None),
        ("paint", {}, "invalid_value", "name"),
    ],
)
async def test_an_error_is_a_result_that_names_the_field(
    client: Client, tool: str, arguments: dict[str, Any], code: str, param: str | None
) -> None:
    async with client:
        reply = await client.call_tool(tool, arguments)
    assert reply.is_error
    assert reply.structured_content
    assert (reply.structured_content["code"], reply.structured_content["param"]) == (code, param)


async def test_the_protocol_with_a_handshake_works_too(open_api: Running) -> None:
    async with Client(f"{open_api.url}/mcp", mode="legacy") as old:
        assert not (await old.call_tool("draw", {"prompt": "кот"})).is_error


def test_it_is_off_unless_asked_for(http: httpx.Client) -> None:
    assert http.post("/mcp", json=call("draw", {"prompt": "кот"}), headers=ACCEPT).status_code == 404


def test_a_missing_package_is_an_error_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.settings.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match="package mcp"):
        Settings(mcp=True)


def test_bodies_are_bounded_in_bytes_and_values_and_other_hosts_are_refused(open_api: Running) -> None:
    with open_api.client(headers=ACCEPT) as http:
        large = http.post("/mcp", json=call("describe", {"image": "A" * 16_000_001}))
        assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
        values = http.post("/mcp", content=b"[" * 30_000, headers={"content-type": "application/json"})
        assert (values.status_code, values.json()["error"]["code"]) == (400, "invalid_json")
        foreign = http.post("/mcp", json=call("draw", {"prompt": "кот"}), headers={"host": "evil.example"})
        assert foreign.status_code in (403, 421)
        assert http.get("/mcp").status_code == 405


async def test_keys_and_quotas_apply_to_tools(start_api: Any, tmp_path: Any) -> None:
    keys = tmp_path / "keys.json"
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys.write_text(json.dumps([{"name": "anna", "sha256": digest, "candidates_per_minute": 2}]))
    with start_api(mcp=True, api_keys_file=keys) as api:
        with api.client(headers=ACCEPT) as http:
            assert http.post("/mcp", json=call("draw", {"prompt": "кот"})).status_code == 401
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as bearer,
            Client(streamable_http_client(f"{api.url}/mcp", http_client=bearer)) as client,
        ):
            assert not (await client.call_tool("draw", {"prompt": "кот", "n": 2})).is_error
            refused = await client.call_tool("draw", {"prompt": "кот", "n": 2})
        assert refused.is_error
        assert refused.structured_content
        assert refused.structured_content["code"] == "candidate_quota_exceeded"


def test_the_job_of_a_client_that_leaves_is_cancelled(open_api: Running) -> None:
    assert open_api.worker
    before = len(open_api.worker.cancelled)
    with open_api.client(headers=ACCEPT) as http, pytest.raises(httpx.ReadTimeout):
        http.post("/mcp", json=call("draw", {"prompt": "жди"}), timeout=1)
    deadline_s = time.monotonic() + 10
    while len(open_api.worker.cancelled) == before:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
