"""Sizes, formats and forms of the images that OpenAI's routes return."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.app.conftest import Running


@pytest.fixture
def sdk(api: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def opened(data: bytes | str | None) -> Image.Image:
    if isinstance(data, str):
        data = base64.b64decode(data)
    assert data is not None
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    "size",
    [
        "256x256",
        "512x512",
        "1024x1024",
        "1536x1024",
        "1024x1536",
        "1792x1024",
        "1024x1792",
        "1536x864",
        "16x4096",
    ],
)
def test_a_size_of_the_documentation_is_what_comes_out(sdk: openai.OpenAI, size: str) -> None:
    reply = sdk.images.generate(prompt="кот", size=size, extra_body={"seed": 3})
    assert reply.data
    assert reply.size == size
    image = opened(reply.data[0].b64_json)
    assert f"{image.width}x{image.height}" == size
    assert image.convert("RGB").getpixel((image.width // 2, image.height // 2)) == (3, 40, 80)


@pytest.mark.parametrize("size", [None, "auto", "32x32"])
def test_without_a_size_the_models_own_comes_out(sdk: openai.OpenAI, size: Any) -> None:
    reply = sdk.images.generate(prompt="кот", size=size)
    assert reply.data
    assert reply.size == "32x32"
    assert opened(reply.data[0].b64_json).size == (32, 32)


@pytest.mark.parametrize(
    "size", ["big", "0x64", "64", "64x", "-1x5", "8x8", "4097x16", "4096x4096", "1e3x5", "٣٢x٣٢", "64x64 "]
)
def test_a_size_that_is_none_is_refused(http: httpx.Client, size: str) -> None:
    reply = http.post("/v1/images/generations", json={"prompt": "кот", "size": size})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_size", "size")


def test_all_images_together_have_a_bound(http: httpx.Client) -> None:
    reply = http.post("/v1/images/generations", json={"prompt": "кот", "size": "2048x2048", "n": 10})
    assert reply.status_code == 400
    assert "25 megapixels" in reply.json()["error"]["message"]


def test_the_operator_may_refuse_sizes_that_the_model_does_not_draw(start_api: Any) -> None:
    with start_api(strict_size=True) as api, openai.OpenAI(base_url=f"{api.url}/v1", api_key="none") as sdk:
        assert sdk.images.generate(prompt="кот", size="auto").size == "32x32"
        with pytest.raises(openai.BadRequestError, match="auto or 32x32") as caught:
            sdk.images.generate(prompt="кот", size="1024x1024")
        assert caught.value.param == "size"
        assert caught.value.code == "invalid_size"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_fitted_image_keeps_its_format(sdk: openai.OpenAI, kind: Any) -> None:
    reply = sdk.images.generate(prompt="кот", output_format=kind, size="512x512")
    assert reply.data
    assert reply.output_format == kind
    assert opened(reply.data[0].b64_json).format == kind.upper()


def test_a_streamed_image_is_fitted_in_all_its_parts(sdk: openai.OpenAI) -> None:
    events = list(sdk.images.generate(prompt="кот", size="256x512", stream=True, partial_images=2))
    assert len(events) == 3
    for event in events:
        assert event.size == "256x512"
        assert opened(event.b64_json).size == (256, 512)


def test_compression_is_the_quality_of_the_encoder(http: httpx.Client) -> None:
    def size_of(quality: int, kind: str) -> int:
        body = {"prompt": "большой", "output_format": kind, "output_compression": quality, "size": "512x512"}
        reply = http.post("/v1/images/generations", json=body)
        assert reply.status_code == 200, reply.text
        return len(base64.b64decode(reply.json()["data"][0]["b64_json"]))

    for kind in ("jpeg", "webp"):
        assert size_of(0, kind) <= size_of(100, kind)
    refused = http.post("/v1/images/generations", json={"prompt": "кот", "output_compression": 50})
    assert refused.json()["error"]["param"] == "output_compression"
    assert http.post("/v1/images/generations", json={"prompt": "кот", "output_compression": 100}).is_success


def test_a_url_is_a_data_uri(sdk: openai.OpenAI) -> None:
    reply = sdk.images.generate(prompt="кот", response_format="url", output_format="webp", n=2)
    assert reply.data
    for image in reply.data:
        assert image.b64_json is None
        assert image.url is not None
        head, _, data = image.url.partition(",")
        assert head == "data:image/webp;base64"
        assert opened(data).format == "WEBP"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("image/webp;q=0.1, image/png", "image/png"),
        ("image/png;q=0.1, image/webp;q=0.5, application/json;q=0.2", "image/webp"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("*/*", "application/json"),
        ("image/png;q=0, */*", "application/json"),
        ("application/json, image/png;q=0.9", "application/json"),
        ("text/html", "application/json"),
        ("image/png;q=0.5, */*;q=0.1", "image/png"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/text2image"])
def test_accept_selects_bytes_by_weight(http: httpx.Client, path: str, accept: str, kind: str) -> None:
    reply = http.post(path, json={"prompt": "кот", "seed": 5}, headers={"accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == kind
    if kind != "application/json":
        assert opened(reply.content).format == kind.removeprefix("image/").upper()
        assert reply.headers["x-seed"] == "5"


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/text2image"])
def test_several_images_are_json_where_it_is_accepted(http: httpx.Client, path: str) -> None:
    body = {"prompt": "кот", "n": 2}
    both = http.post(path, json=body, headers={"accept": "image/png, */*;q=0.1"})
    assert both.headers["content-type"] == "application/json"
    only = http.post(path, json=body, headers={"accept": "image/png"})
    assert only.json()["error"]["param"] == "n"


def test_bytes_have_the_size_that_was_asked_for(http: httpx.Client) -> None:
    body = {"prompt": "кот", "size": "128x64"}
    reply = http.post("/v1/images/generations", json=body, headers={"accept": "image/webp"})
    assert opened(reply.content).size == (128, 64)
