"""Spans with the attributes of OpenTelemetry's conventions for generative AI, of a whole server."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import Server, serving
from tests.telemetry.collector import Collector, Received

SECRET = "ёжик"
"""A word of every text that a client sends."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def server(tiny_v2: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = collector.environment | {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
    with serving(tiny_v2, tmp_path_factory.mktemp("server"), **environment) as running:
        yield running


@pytest.fixture(scope="module")
def picture(tiny_v2: Path) -> str:
    return base64.b64encode((tiny_v2 / "picture0.png").read_bytes()).decode()


def ask(server: Server, collector: Collector, route: str, body: dict[str, Any]) -> tuple[Any, Received]:
    """Return the reply and the span of its job."""
    reply = server.client.post(f"/v1/{route}", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json(), collector.wait_for(rudolph_job_id=reply.json()["id"])


def described(span: Received) -> dict[str, Any]:
    return {
        name.removeprefix("gen_ai."): value
        for name, value in span.attributes.items()
        if name.startswith("gen_ai.")
    }


def test_a_drawing(server: Server, collector: Collector) -> None:
    body = {
        "prompt": f"{SECRET} в тумане",
        "seed": 7,
        "n": 2,
        "candidates": 3,
        "temperature": 0.5,
        "top_k": 9,
    }
    reply, span = ask(server, collector, "text2image", body | {"top_p": 0.75})
    usage = reply["usage"]
    (model,) = server.client.get("/v1/models").json()["data"]
    assert described(span) == {
        "operation.name": "generate_content",
        "provider.name": "rudolph",
        "output.type": "image",
        "request.model": "tiny-v2",
        "request.temperature": 0.5,
        "request.top_k": 9.0,
        "request.top_p": 0.75,
        "request.seed": 7,
        "request.choice.count": 2,
        "response.model": f"tiny-v2@{span.attributes['rudolph.revision']}",
        "usage.input_tokens": usage["input_tokens"],
        "usage.image.input_tokens": 0,
        "usage.output_tokens": usage["output_tokens"],
    }
    assert model["id"] == "tiny-v2"
    assert isinstance(span.attributes["gen_ai.request.top_k"], float)


def test_a_text_and_its_end(server: Server, collector: Collector) -> None:
    body = {"prompt": f"Жил был {SECRET}", "seed": 1, "max_tokens": 3, "stop": [f"{SECRET}!"]}
    reply, span = ask(server, collector, "text2text", body)
    found = described(span)
    assert found["operation.name"] == "text_completion"
    assert (found["output.type"], found["request.max_tokens"]) == ("text", 3)
    assert found["response.finish_reasons"] == [text["finish_reason"] for text in reply["texts"]]
    assert found["usage.output_tokens"] == reply["usage"]["output_tokens"]
    assert "request.choice.count" not in found


def test_a_caption_reads_image_tokens(server: Server, collector: Collector, picture: str) -> None:
    reply, span = ask(server, collector, "image2text", {"image": picture, "n": 2, "candidates": 2, "seed": 1})
    found = described(span)
    assert (found["operation.name"], found["output.type"]) == ("generate_content", "text")
    assert 0 < found["usage.image.input_tokens"] <= found["usage.input_tokens"]
    assert found["usage.input_tokens"] == reply["usage"]["input_tokens"]
    assert len(found["response.finish_reasons"]) == len(reply["texts"])


def test_a_job_that_scores_has_its_own_operation_and_no_sampling(
    server: Server, collector: Collector, picture: str
) -> None:
    body = {"image": picture, "classes": [SECRET, "мяч"]}
    _, span = ask(server, collector, "classify", body)
    found = described(span)
    assert found["operation.name"] == "classify"
    assert not [name for name in found if name.startswith("request.") and name != "request.model"]
    assert found["usage.output_tokens"] == 0


def test_no_span_has_a_text_of_a_client(server: Server, collector: Collector) -> None:
    ask(server, collector, "text2image", {"prompt": SECRET})
    ask(server, collector, "text2text", {"prompt": SECRET, "stop": [SECRET]})
    collector.wait_for(name="POST /v1/text2text")
    assert SECRET not in str(collector.spans)
