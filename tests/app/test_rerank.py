"""/v1/rerank as Cohere's and Jina's clients send it."""

import base64
from typing import Any

import httpx
import pytest

from jobs.contract.requests import RankImagesRequest, RankTextsRequest
from tests.app.conftest import Running
from tests.app.worker import picture

PNG = "data:image/png;base64," + base64.b64encode(picture(1)).decode()
PART = {"type": "image_url", "image_url": {"url": PNG}}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_images_are_ordered_by_a_text(http: httpx.Client, api: Running, path: str) -> None:
    documents = [{"image": PNG}, {"image_url": {"url": PNG}}, {"content": [PART]}]
    body = {"model": "tiny", "query": "красный квадрат", "documents": documents, "top_n": 2}
    reply = http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    results = reply.json()["results"]
    assert [item["index"] for item in results] == [2, 1]
    assert all(0 <= item["relevance_score"] <= 1 for item in results)
    assert results == sorted(results, key=lambda item: -item["relevance_score"])
    assert api.worker
    assert isinstance(api.worker.requests[-1], RankImagesRequest)


def test_texts_are_ordered_by_an_image(http: httpx.Client, api: Running) -> None:
    body = {
        "query": {"content": [PART]},
        "documents": ["кот", {"text": "пёс"}],
        "return_documents": True,
    }
    results = http.post("/v1/rerank", json=body).json()["results"]
    assert [item["document"] for item in results] == [{"text": "пёс"}, {"text": "кот"}]
    assert api.worker
    assert isinstance(api.worker.requests[-1], RankTextsRequest)


def test_a_text_that_is_a_data_uri_is_an_image(http: httpx.Client) -> None:
    results = http.post("/v1/rerank", json={"query": "кот", "documents": [PNG, PNG]}).json()["results"]
    assert [item["index"] for item in results] == [1, 0]
    reply = http.post(
        "/v1/rerank", json={"query": PNG, "documents": ["кот", "пёс"], "return_documents": True}
    )
    assert reply.json()["results"][0]["document"] == {"text": "пёс"}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"query": "кот", "documents": ["кот"]}, 422, "documents"),
        ({"query": "кот", "documents": [{"image": PNG}, "кот"]}, 422, "documents"),
        ({"query": "кот", "documents": []}, 422, "documents"),
        ({"query": "кот", "documents": [{}]}, 422, "documents[0]"),
        ({"query": "кот", "documents": [{"image": "https://example.org/a.png"}]}, 422, "documents[0]"),
        ({"query": "кот", "documents": [{"image": PNG}], "model": "rerank-v3.5"}, 404, "model"),
        ({"documents": [{"image": PNG}]}, 422, "query"),
    ],
)
def test_faults_name_the_field(http: httpx.Client, body: dict[str, Any], status: int, param: str) -> None:
    reply = http.post("/v1/rerank", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


def test_scores_have_the_order_of_the_ranking_and_unknown_fields_are_named(http: httpx.Client) -> None:
    body = {"query": "кот", "documents": [{"image": PNG}] * 4, "truncation": True}
    reply = http.post("/v1/rerank", json=body).json()
    scores = [item["relevance_score"] for item in reply["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1.0)
    assert [(warning["code"], warning["param"]) for warning in reply["warnings"]] == [
        ("unknown_field", "truncation")
    ]
