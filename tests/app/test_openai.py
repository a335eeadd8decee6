"""The OpenAI-compatible routes, driven by the official SDK, synchronous and asynchronous."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.app.conftest import Running
from tests.app.worker import picture, transparent

DATA_URI = "data:image/png;base64," + base64.b64encode(picture(50)).decode()


@pytest.fixture
def sdk(api: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def chat_messages(text: str | None = None, url: str = DATA_URI) -> Any:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts + ([{"type": "text", "text": text}] if text else [])}]


def is_png(b64: str | None) -> bool:
    return base64.b64decode(b64 or "").startswith(b"\x89PNG")


def test_images_are_generated(sdk: openai.OpenAI) -> None:
    reply = sdk.images.generate(prompt="рыжий кот", n=2, size="auto", response_format="b64_json", user="anna")
    assert reply.data is not None
    assert [is_png(image.b64_json) for image in reply.data] == [True, True]
    assert reply.usage is not None
    assert reply.usage.total_tokens == 24
    assert reply.size == "32x32"
    assert abs(reply.created - time.time()) < 60


def test_native_fields_pass_through_extra_body(sdk: openai.OpenAI) -> None:
    extra = {"seed": 11, "candidates": 3, "unknown": {"a": 1}}
    first, second = (sdk.images.generate(prompt="кот", extra_body=extra) for _ in range(2))
    assert first.data is not None
    assert second.data is not None
    assert first.data[0].b64_json == second.data[0].b64_json


@pytest.mark.parametrize("fmt", ["jpeg", "webp"])
def test_the_output_format_is_kept(sdk: openai.OpenAI, fmt: Any) -> None:
    reply = sdk.images.generate(prompt="кот", output_format=fmt, size="32x32")  # type: ignore[call-overload]
    magic = base64.b64decode(reply.data[0].b64_json)[:4]
    assert magic == (b"RIFF" if fmt == "webp" else b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"n": 11}, "n", "between 1 and 10"),
        ({"response_format": "file"}, "response_format", "b64_json"),
        ({"output_format": "gif"}, "output_format", "'png'"),
        ({"partial_images": 4, "stream": True}, "partial_images", "between 0 and 3"),
        ({"prompt": ""}, "prompt", "at least one character"),
        ({"extra_body": {"candidates": 1}, "n": 2}, "candidates", "at least n"),
    ],
)
def test_faults_are_400_and_the_sdk_shows_their_words(
    sdk: openai.OpenAI, fields: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        sdk.images.generate(**{"prompt": "кот"} | fields)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_a_streamed_picture_grows(sdk: openai.OpenAI) -> None:
    seen = list(sdk.images.generate(prompt="кот", stream=True, partial_images=2))
    assert [event.type for event in seen] == ["image_generation.partial_image"] * 2 + [
        "image_generation.completed"
    ]
    assert [event.partial_image_index for event in seen[:2]] == [0, 1]  # type: ignore[union-attr]
    assert all(is_png(event.b64_json) for event in seen)
    assert seen[-1].usage.output_tokens == 16  # type: ignore[union-attr]
    assert (seen[0].size, seen[0].quality, seen[0].output_format) == ("32x32", "auto", "png")


async def test_the_asynchronous_client_streams_too(api: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key="none") as client:
        stream = await client.images.generate(prompt="кот", stream=True, partial_images=1)
        kinds = [event.type async for event in stream]
        assert kinds == ["image_generation.partial_image", "image_generation.completed"]
        reply = await client.chat.completions.create(model="tiny", messages=chat_messages())
        assert reply.choices[0].message.content
        assert [model.id async for model in client.models.list()] == ["tiny"]


def test_a_failing_stream_raises_in_the_sdk(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="the step failed"):
        list(sdk.images.generate(prompt="сбой", stream=True))


def test_a_masked_picture_is_edited(sdk: openai.OpenAI) -> None:
    reply = sdk.images.edit(
        image=("a.png", picture(1)), mask=("m.png", transparent()), prompt="синий кот", n=2
    )
    assert reply.data is not None
    assert [is_png(image.b64_json) for image in reply.data] == [True, True]
    listed = sdk.images.edit(image=[("a.png", picture(1))], mask=("m.png", transparent()), prompt="синий кот")
    assert listed.data is not None


def test_edits_stream_under_their_own_name(sdk: openai.OpenAI) -> None:
    stream = sdk.images.edit(image=("a.png", transparent()), prompt="кот", stream=True, partial_images=1)
    assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


def test_usage_tells_words_from_cells_of_the_picture(sdk: openai.OpenAI) -> None:
    usage = sdk.images.generate(prompt="кот").usage
    assert usage is not None
    assert usage.input_tokens_details.image_tokens == 3
    assert usage.input_tokens_details.text_tokens == 5


def test_keys_and_quotas_are_what_the_sdk_expects(start_api: Any) -> None:
    key = "k" * 32
    with start_api(api_keys=f"anna={key}") as api:
        wrong = openai.OpenAI(base_url=f"{api.url}/v1", api_key="wrong")
        with wrong as sdk, pytest.raises(openai.AuthenticationError, match="is unknown"):
            sdk.models.list()
        with openai.OpenAI(base_url=f"{api.url}/v1", api_key=key) as sdk:
            assert sdk.models.list().data


def test_json_of_a_reply_is_what_the_contract_names(http: httpx.Client) -> None:
    reply = http.post("/v1/images/generations", json={"prompt": "кот"})
    assert {"created", "data", "usage"} <= set(reply.json())
    assert json.loads(reply.text)["data"][0]["b64_json"]
