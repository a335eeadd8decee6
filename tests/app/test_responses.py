"""/v1/responses: as the official SDK calls it, as a stream, in the background, and what is refused."""

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest
from PIL import Image

from jobs.contract.requests import AnswerRequest, Image2TextRequest, Task, Text2ImageRequest
from tests.app.conftest import Running
from tests.app.worker import MODEL, picture, transparent

PNG = "data:image/png;base64," + base64.b64encode(picture(1)).decode()
HOLE = "data:image/png;base64," + base64.b64encode(transparent()).decode()
IMAGE = {"type": "input_image", "image_url": PNG}
TEXT = {"type": "input_text", "text": "что это?"}
TOOL = {"type": "image_generation"}


@pytest.fixture
def sdk(api: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def last(api: Running) -> Any:
    assert api.worker
    return api.worker.requests[-1]


def says(*parts: dict[str, Any]) -> Any:
    return [{"role": "user", "content": list(parts)}]


def test_an_image_is_described_and_its_text_is_reported_as_ignored(sdk: openai.OpenAI, api: Running) -> None:
    reply = sdk.responses.create(
        model="tiny", input=says(IMAGE, TEXT), instructions="Кратко.", temperature=0, max_output_tokens=9
    )
    assert reply.output_text.startswith("текст 0")
    assert (reply.status, reply.model, reply.error) == ("completed", "tiny", None)
    assert reply.usage
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (8, 3)
    assert [warning["code"] for warning in reply.model_extra["warnings"]] == ["text_ignored"]
    assert isinstance(last(api), Image2TextRequest)
    assert (last(api).max_tokens, last(api).sampling.top_k) == (9, 1)


def test_a_text_that_was_cut_is_incomplete(sdk: openai.OpenAI) -> None:
    reply = sdk.responses.create(input=says(IMAGE), max_output_tokens=3)
    assert reply.status == "incomplete"
    assert reply.incomplete_details
    assert reply.incomplete_details.reason == "max_output_tokens"


def test_a_stream_has_all_events_in_order_and_adds_up(sdk: openai.OpenAI) -> None:
    events = list(sdk.responses.create(input=says(IMAGE), stream=True, extra_body={"seed": 1}))
    names = [event.type.removeprefix("response.") for event in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == text == "текст 0 1"
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


def test_the_image_tool_draws_in_the_size_and_format_of_the_tool(sdk: openai.OpenAI, api: Running) -> None:
    tool: Any = {**TOOL, "size": "96x48", "output_format": "webp", "quality": "low"}
    reply = sdk.responses.create(input="кот", tools=[tool], extra_body={"seed": 7})
    call = reply.output[0]
    assert call.type == "image_generation_call"
    assert call.result
    with Image.open(io.BytesIO(base64.b64decode(call.result))) as image:
        assert (image.format, image.size) == ("WEBP", (96, 48))
    assert reply.output_text == ""
    request = last(api)
    assert isinstance(request, Text2ImageRequest)
    assert (request.prompt, request.seed, request.image_prompt) == ("кот", 7, None)
    assert reply.model_extra["warnings"][0]["param"] == "tools[0].quality"


@pytest.mark.parametrize(
    ("tool", "kept"),
    [({}, 0.5), ({"input_image_mask": {"image_url": HOLE}}, None), ({"action": "generate"}, ...)],
)
def test_an_image_of_the_input_is_edited(
    sdk: openai.OpenAI, api: Running, tool: dict[str, Any], kept: float | None
) -> None:
    reply = sdk.responses.create(input=says(TEXT, IMAGE), tools=[{**TOOL, **tool}])  # type: ignore[list-item]
    assert reply.output[0].type == "image_generation_call"
    prompt = last(api).image_prompt
    assert (... if prompt is None else prompt.keep_share) == kept


def test_a_drawn_image_can_be_edited_in_the_next_turn(sdk: openai.OpenAI, api: Running) -> None:
    first = sdk.responses.create(input="кот", tools=[TOOL])  # type: ignore[list-item]
    call = first.output[0].model_dump(include={"type", "id", "result", "status"})
    history: Any = [{"role": "user", "content": "кот"}, call, {"role": "user", "content": "рыжий"}]
    sdk.responses.create(input=history, tools=[TOOL])  # type: ignore[list-item]
    assert last(api).prompt == "кот рыжий"
    assert last(api).image_prompt.image == base64.b64decode(call["result"])


def test_a_stream_of_the_image_tool_has_partial_images(sdk: openai.OpenAI) -> None:
    tool: Any = {**TOOL, "partial_images": 2}
    events = list(sdk.responses.create(input="кот", tools=[tool], stream=True))
    names = [event.type.removeprefix("response.") for event in events]
    assert names[2:7] == [
        "output_item.added",
        "image_generation_call.in_progress",
        "image_generation_call.generating",
        "image_generation_call.partial_image",
        "image_generation_call.partial_image",
    ]
    assert names[-1] == "completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_failure_ends_the_stream_as_an_error(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError) as caught:
        list(sdk.responses.create(input="сбой", tools=[TOOL], stream=True))  # type: ignore[list-item]
    assert caught.value.code == "internal_error"


@pytest.fixture(scope="module")
def answering(start_api: Any) -> Iterator[Running]:
    with start_api(model=msgspec.structs.replace(MODEL, tasks=tuple(Task))) as running:
        yield running


def test_a_question_is_answered_where_the_checkpoint_can(answering: Running) -> None:
    with openai.OpenAI(base_url=f"{answering.url}/v1", api_key="none") as client:
        reply = client.responses.create(input=says(IMAGE, TEXT))
    assert reply.output_text == "да"
    assert isinstance(last(answering), AnswerRequest)


def wait_for(sdk: openai.OpenAI, id: str, *states: str) -> Any:
    deadline_s = time.monotonic() + 10
    while (found := sdk.responses.retrieve(id)).status not in states:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)
    return found


def test_a_response_in_the_background_is_read_later(sdk: openai.OpenAI) -> None:
    started = sdk.responses.create(input=says(IMAGE), background=True)
    assert (started.status, started.output) == ("queued", [])
    found = wait_for(sdk, started.id, "completed")
    assert found.output_text.startswith("текст 0")
    drawn = sdk.responses.create(input="кот", tools=[{**TOOL, "output_format": "webp"}], background=True)  # type: ignore[list-item]
    found = wait_for(sdk, drawn.id, "completed")
    assert found.output[0].output_format == "webp"
    assert base64.b64decode(found.output[0].result).startswith(b"RIFF")
    failed = sdk.responses.create(input="сбой", tools=[TOOL], background=True)  # type: ignore[list-item]
    assert wait_for(sdk, failed.id, "failed").error.code == "internal_error"


def test_a_response_in_the_background_is_cancelled(sdk: openai.OpenAI) -> None:
    started = sdk.responses.create(input="жди", tools=[TOOL], background=True)  # type: ignore[list-item]
    wait_for(sdk, started.id, "in_progress")
    sdk.responses.cancel(started.id)
    assert wait_for(sdk, started.id, "cancelled").output == []


def test_metadata_that_utf_8_cannot_hold_are_not_repeated(http: httpx.Client) -> None:
    body = json.dumps({"input": says(IMAGE), "metadata": {"a": "\ud800"}})
    reply = http.post("/v1/responses", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["metadata"]) == (200, {})


def test_other_responses_are_not_stored(sdk: openai.OpenAI, http: httpx.Client) -> None:
    done = sdk.responses.create(input=says(IMAGE))
    classified = http.post("/v1/classify", json={"image": PNG, "classes": ["кот", "пёс"]}).json()["id"]
    for id in (done.id, "resp_unknown", "job_x", classified.replace("job_", "resp_")):
        reply = http.get(f"/v1/responses/{id}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": "кот"}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["кот"]}, "input[0]"),
        ({"input": "кот", "tool_choice": 5}, "tool_choice"),
        ({"input": says(IMAGE, IMAGE)}, "input"),
        ({"input": [{"role": "robot", "content": "кот"}]}, "input[0].role"),
        ({"input": says({"type": "input_file", "file_id": "f"})}, "input[0].content[0]"),
        ({"input": says({"type": "input_image", "file_id": "f"})}, "input[0].content[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": says(IMAGE), "tools": [{"type": "function", "name": "f"}]}, "tools[0]"),
        ({"input": "кот", "tools": [TOOL, TOOL]}, "tools[1]"),
        ({"input": "кот", "tools": [{**TOOL, "size": "huge"}]}, "tools[0].size"),
        ({"input": "кот", "tools": [{**TOOL, "background": "transparent"}]}, "tools[0].background"),
        ({"input": "кот", "tools": [{**TOOL, "action": "edit"}]}, "input"),
        ({"input": "", "tools": [TOOL]}, "input"),
        ({"input": "кот", "tool_choice": "required"}, "tool_choice"),
        ({"input": "кот", "tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"input": says(IMAGE), "text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"input": says(IMAGE), "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": says(IMAGE), "background": True, "stream": True}, "stream"),
        ({"input": "кот", "tools": [{**TOOL, "size": "96x96"}], "background": True}, "background"),
        ({"input": says({**IMAGE, "image_url": "https://example.org/a.png"})}, "input"),
        ({"input": says(IMAGE), "max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_faults_name_the_field(http: httpx.Client, body: dict[str, Any], param: str) -> None:
    reply = http.post("/v1/responses", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text


def test_tool_choice_none_describes(sdk: openai.OpenAI, api: Running) -> None:
    sdk.responses.create(input=says(IMAGE), tools=[TOOL], tool_choice="none")  # type: ignore[list-item]
    assert isinstance(last(api), Image2TextRequest)
