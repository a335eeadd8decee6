"""Cohere's SDK, which reranks texts. An image is sent as a data URI."""

from importlib.metadata import version

import cohere
from harness import PICTURE_URI, URL, refused, run

client = cohere.ClientV2(base_url=URL, api_key="none")
TEXTS = ["банан на красном фоне", "сова на зелёном фоне", "автомобиль на синем фоне"]


def rerank_texts() -> str:
    reply = client.rerank(model="rudolph", query=PICTURE_URI, documents=TEXTS, top_n=2)
    assert reply.results[0].index == 1
    assert len(reply.results) == 2
    assert 0 <= reply.results[1].relevance_score <= reply.results[0].relevance_score <= 1
    return "works; the query is a data URI of an image"


def rerank_images() -> str:
    reply = client.rerank(model="rudolph", query="сова на зелёном фоне", documents=[PICTURE_URI] * 2)
    assert sum(item.relevance_score for item in reply.results) > 0.99
    return "works; documents are data URIs of images"


def two_texts() -> str:
    return refused(
        lambda: client.rerank(model="rudolph", query="сова", documents=TEXTS), "unsupported_documents"
    )


run(
    f"cohere {version('cohere')}",
    {
        "rerank of texts": rerank_texts,
        "rerank of images": rerank_images,
        "texts by a text": two_texts,
    },
)
