"""Edits and variations as clients send them: files, JSON, without a mask, several images."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from jobs.contract.requests import Text2ImageRequest
from tests.app.conftest import Running
from tests.app.worker import picture, transparent

PNG = "data:image/png;base64," + base64.b64encode(picture(1)).decode()
OTHER = "data:image/png;base64," + base64.b64encode(picture(2)).decode()
MASK = "data:image/png;base64," + base64.b64encode(transparent()).decode()


@pytest.fixture
def sdk(api: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def last_request(api: Running) -> Text2ImageRequest:
    assert api.worker
    request = api.worker.requests[-1]
    assert isinstance(request, Text2ImageRequest)
    return request


def test_without_a_mask_the_image_itself_is_the_hint(sdk: openai.OpenAI, api: Running) -> None:
    for file in (picture(1), transparent()):
        assert sdk.images.edit(image=("a.png", file), prompt="кот").data
        prompt = last_request(api).image_prompt
        assert prompt is not None
        assert (prompt.image, prompt.mask, prompt.borders, prompt.keep_share) == (file, None, None, 0.5)


def test_a_mask_goes_with_its_image(sdk: openai.OpenAI, api: Running) -> None:
    assert sdk.images.edit(image=("a.png", picture(1)), mask=("m.png", transparent()), prompt="кот").data
    prompt = last_request(api).image_prompt
    assert prompt is not None
    assert (prompt.image, prompt.mask, prompt.keep_share) == (picture(1), transparent(), None)


def test_of_several_images_the_first_is_edited_and_the_reply_says_so(
    sdk: openai.OpenAI, api: Running
) -> None:
    raw = sdk.images.with_raw_response.edit(
        image=[("a.png", picture(1)), ("b.png", picture(2))], prompt="кот"
    )
    assert raw.headers["x-warnings"] == "images_ignored"
    (warning,) = raw.parse().warnings  # type: ignore[attr-defined]
    assert "first of 2" in warning["message"]
    prompt = last_request(api).image_prompt
    assert prompt is not None
    assert prompt.image == picture(1)


@pytest.mark.parametrize(
    "fields",
    [
        {"images": [{"image_url": PNG}], "mask": {"image_url": MASK}},
        {"images": [{"image_url": {"url": PNG}}], "mask": {"image_url": MASK}},
        {"image": PNG, "mask": MASK},
        {"image": [PNG, OTHER], "mask": MASK},
    ],
)
def test_json_edits_are_what_a_form_is(http: httpx.Client, api: Running, fields: dict[str, Any]) -> None:
    reply = http.post("/v1/images/edits", json={"prompt": "кот", **fields})
    assert reply.status_code == 200, reply.text
    prompt = last_request(api).image_prompt
    assert prompt is not None
    assert (prompt.image, prompt.mask) == (picture(1), transparent())


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "image", "send image"),
        ({"image": PNG, "images": [{"image_url": PNG}]}, "image", "send image"),
        ({"images": [{"file_id": "file-1"}]}, "images", "not stored"),
        ({"images": [{"image_url": "https://example.org/a.png"}]}, "images[0]", "never fetched"),
        ({"image": "AAAA"}, "image", "PNG, JPEG or WebP"),
        ({"image": []}, "image", "at least 1"),
        ({"image": PNG, "mask": PNG}, "mask", "no transparency"),
    ],
)
def test_faults_name_the_field(http: httpx.Client, fields: dict[str, Any], param: str, words: str) -> None:
    reply = http.post("/v1/images/edits", json={"prompt": "кот", **fields})
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]
    assert reply.json()["error"]["param"] == param


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_variations_are_drawn_from_an_image_alone(sdk: openai.OpenAI, api: Running) -> None:
    reply = sdk.images.create_variation(image=("a.png", picture(1)), n=2, size="256x256")
    assert reply.data
    assert len(reply.data) == 2
    assert Image.open(io.BytesIO(base64.b64decode(reply.data[0].b64_json or ""))).size == (256, 256)
    request = last_request(api)
    assert request.guidance == 1.0
    assert request.image_prompt is not None
    assert request.image_prompt.keep_share == 0.5
    links = sdk.images.create_variation(image=("a.png", picture(1)), response_format="url")
    assert links.data
    assert (links.data[0].url or "").startswith("data:image/png;base64,")


def test_edits_are_fitted_too(sdk: openai.OpenAI) -> None:
    reply = sdk.images.edit(image=("a.png", picture(1)), prompt="кот", size="1024x1024")
    assert reply.size == "1024x1024"


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        ({"keep_share": 0.3}, 200),
        ({"keep_share": 0}, 422),
        ({"keep_share": 0.3, "mask": MASK}, 422),
        ({}, 422),
    ],
)
def test_a_share_is_a_native_image_prompt(http: httpx.Client, prompt: dict[str, Any], status: int) -> None:
    body = {"prompt": "кот", "image_prompt": {"image": PNG, **prompt}}
    assert http.post("/v1/text2image", json=body).status_code == status


def test_an_edit_without_an_image_is_refused_with_the_two_ways_to_send_one(api: Running) -> None:
    with api.client() as http:
        reply = http.post("/v1/images/edits", json={"prompt": "кот"})
    assert reply.status_code == 400
    assert "send image, or images with one {image_url} each" in reply.json()["error"]["message"]
