"""Chats and completions, driven by the official SDK."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest

from app.openai.streams import TextPieces
from jobs.contract.requests import Image2TextRequest, Task, Text2TextRequest
from tests.app.conftest import Running
from tests.app.worker import MODEL, picture

DATA_URI = "data:image/png;base64," + base64.b64encode(picture(50)).decode()


@pytest.fixture
def sdk(api: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def chat_messages(text: str | None = None, url: str = DATA_URI) -> Any:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts + ([{"type": "text", "text": text}] if text else [])}]


def last_request(api: Running, prompt: str) -> Text2TextRequest:
    assert api.worker
    found = [r for r in api.worker.requests if isinstance(r, Text2TextRequest) and r.prompt == prompt]
    return found[-1]


def test_chat_describes_a_picture(sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.create(
        model="tiny", messages=chat_messages(), n=2, max_tokens=1000, temperature=0, seed=5
    )
    assert [choice.message.content for choice in reply.choices] == ["текст 0 5", "текст 1 5"]
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].finish_reason == "stop"
    assert reply.object == "chat.completion"
    assert (reply.model, reply.system_fingerprint) == ("tiny", "r1")
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (8, 6)
    assert reply.usage.total_tokens == 14


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_text_that_was_cut_ends_with_length(sdk: openai.OpenAI, field: Any) -> None:
    reply = sdk.chat.completions.create(model="tiny", messages=chat_messages(), n=2, **{field: 3})
    assert {choice.finish_reason for choice in reply.choices} == {"length"}
    written = sdk.completions.create(model="tiny", prompt="текст", n=2, max_tokens=3)
    assert {choice.finish_reason for choice in written.choices} == {"length"}
    for endpoint, options in (
        (sdk.chat.completions, {"messages": chat_messages()}),
        (sdk.completions, {"prompt": "текст"}),
    ):
        chunks = list(endpoint.create(model="tiny", max_tokens=3, stream=True, **options))  # type: ignore[attr-defined]
        assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["length"]


def test_chat_streams_in_pieces_that_make_the_whole(sdk: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        sdk.chat.completions.create(
            model="tiny", messages=chat_messages(), stream=True, stream_options=options, seed=5
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "текст 0 5"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert {(chunk.model, chunk.system_fingerprint) for chunk in chunks} == {("tiny", "r1")}


def test_every_choice_of_a_stream_grows_and_ends(sdk: openai.OpenAI) -> None:
    stream = sdk.completions.create(model="tiny", prompt="медленно", n=3, stream=True, seed=1)
    seen: dict[int, list[str]] = {}
    ends: dict[int, str] = {}
    for chunk in stream:
        for choice in chunk.choices:
            seen.setdefault(choice.index, []).append(choice.text)
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert {index: "".join(pieces) for index, pieces in seen.items()} == {0: " 0 1", 1: " 1 1", 2: " 2 1"}
    assert all(len(pieces) > 1 for pieces in seen.values())
    assert ends == {0: "stop", 1: "stop", 2: "stop"}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": "привет"}], "no image"),
        (chat_messages() + chat_messages(), "more than one image"),
        (chat_messages(url="https://example.org/cat.png"), "never fetched"),
        (chat_messages(url="data:image/png;base64,AAAA"), "PNG, JPEG or WebP"),
        ([], "at least 1 items"),
        ([{"role": "робот", "content": "а"}], "must be one of"),
    ],
)
def test_chat_faults_are_told(sdk: openai.OpenAI, messages: Any, words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        sdk.chat.completions.create(model="tiny", messages=messages)


def test_completions_continue_a_text(sdk: openai.OpenAI) -> None:
    reply = sdk.completions.create(model="tiny", prompt="текст", n=2, max_tokens=5, seed=1)
    assert [choice.text for choice in reply.choices] == [" 0 1", " 1 1"]
    streamed = list(sdk.completions.create(model="tiny", prompt="текст", stream=True, seed=1))
    assert "".join(chunk.choices[0].text for chunk in streamed) == " 0 1"


def test_echo_returns_the_prompt_as_it_was_written(sdk: openai.OpenAI) -> None:
    reply = sdk.completions.create(model="tiny", prompt=["Текст,  🐱"], echo=True, seed=1)
    assert reply.choices[0].text == "Текст,  🐱 0 1"
    streamed = list(sdk.completions.create(model="tiny", prompt="Текст", echo=True, stream=True, seed=1))
    assert "".join(chunk.choices[0].text for chunk in streamed) == "Текст 0 1"


def test_several_prompts_give_their_choices_in_order(sdk: openai.OpenAI, api: Running) -> None:
    reply = sdk.completions.create(model="tiny", prompt=["а", "б", "в"], n=2, echo=True, seed=1)
    assert [choice.text for choice in reply.choices] == ["а 0 1", "а 1 1", "б 0 1", "б 1 1", "в 0 1", "в 1 1"]
    assert [choice.index for choice in reply.choices] == list(range(6))
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (24, 18)
    with pytest.raises(openai.BadRequestError, match="one prompt"):
        sdk.completions.create(model="tiny", prompt=["а", "б"], stream=True)
    with pytest.raises(openai.BadRequestError, match="not token ids"):
        sdk.completions.create(model="tiny", prompt=[1, 2])


def test_a_fault_of_one_of_several_prompts_names_it(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no known token") as caught:
        sdk.completions.create(model="tiny", prompt=["а", "неверно", "медленно"])
    assert caught.value.param == "prompt[1]"


def test_one_key_for_several_prompts_is_one_job_each(http: httpx.Client, api: Running) -> None:
    assert api.worker
    body = {"prompt": ["раз один", "два один"], "seed": 1}
    for _ in range(2):
        assert http.post("/v1/completions", json=body, headers={"Idempotency-Key": "two"}).is_success
    requests = [
        request for request in api.worker.requests if getattr(request, "prompt", "").endswith(" один")
    ]
    assert len(requests) == 2


def test_settings_of_the_text_reach_the_model(sdk: openai.OpenAI, api: Running) -> None:
    sdk.completions.create(model="tiny", prompt="настройки", n=2, best_of=5, stop=[" на", "."], max_tokens=3)
    request = last_request(api, "настройки")
    assert (request.n, request.candidates, request.stop, request.max_tokens) == (2, 5, (" на", "."), 3)
    assert not request.merge
    sdk.chat.completions.create(model="tiny", messages=chat_messages(), stop="точка")
    assert api.worker
    described = [r for r in api.worker.requests if isinstance(r, Image2TextRequest)][-1]
    assert described.stop == ("точка",)
    with pytest.raises(openai.BadRequestError, match="at least n = 3") as caught:
        sdk.completions.create(model="tiny", prompt="а", n=3, best_of=2)
    assert caught.value.param == "best_of"


def test_a_description_begins_with_the_words_asked_for(http: httpx.Client, api: Running) -> None:
    body = {"messages": chat_messages(), "template": "на картинке", "seed": 1}
    assert http.post("/v1/chat/completions", json=body).status_code == 200
    assert api.worker
    described = [r for r in api.worker.requests if isinstance(r, Image2TextRequest)][-1]
    assert described.template == "на картинке"


TALKS = [
    chat_messages("Что здесь?"),
    [{"role": "system", "content": "Отвечай кратко."}, *chat_messages()],
    [*chat_messages(), {"role": "assistant", "content": "кот"}, {"role": "user", "content": "А ещё?"}],
]


@pytest.mark.parametrize("messages", TALKS)
def test_a_text_beside_a_picture_is_answered_by_a_caption_that_says_so(
    sdk: openai.OpenAI, messages: Any
) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="tiny", messages=messages, seed=5)
    assert raw.headers["x-warnings"] == "text_ignored"
    reply = raw.parse()
    assert reply.choices[0].message.content == "текст 0 5"
    (warning,) = reply.warnings  # type: ignore[attr-defined]
    assert (warning["code"], warning["param"]) == ("text_ignored", "messages")
    assert "description" in warning["message"]
    first = next(iter(sdk.chat.completions.create(model="tiny", messages=messages, stream=True)))
    assert first.warnings[0]["code"] == "text_ignored"  # type: ignore[attr-defined]


def test_an_image_of_the_assistant_is_ignored_with_a_warning(http: httpx.Client) -> None:
    own = {"role": "assistant", "content": chat_messages()[0]["content"]}
    reply = http.post("/v1/chat/completions", json={"messages": [own, *chat_messages()]})
    assert reply.headers["x-warnings"] == "images_ignored"
    (warning,) = reply.json()["warnings"]
    assert (warning["code"], warning["param"]) == ("images_ignored", "messages")


def test_without_a_text_there_is_no_warning(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model="tiny", messages=chat_messages())
    assert "x-warnings" not in raw.headers
    assert "warnings" not in raw.text


@pytest.mark.parametrize("messages", TALKS)
def test_the_operator_may_refuse_texts(start_api: Any, messages: Any) -> None:
    with start_api(chat_text="refuse") as api, api.client() as http:
        refused = http.post("/v1/chat/completions", json={"messages": messages})
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "question_unsupported"
        assert refused.json()["error"]["param"] == "messages"
        assert http.post("/v1/chat/completions", json={"messages": chat_messages()}).is_success


def test_the_operator_may_begin_descriptions_with_the_text(start_api: Any) -> None:
    with start_api(chat_text="template") as api, api.client() as http:
        reply = http.post("/v1/chat/completions", json={"messages": chat_messages("на картинке")})
        assert reply.is_success
        assert "warnings" not in reply.json()
        assert api.worker.requests[-1].template == "на картинке"
        both = http.post("/v1/chat/completions", json={"messages": TALKS[1] + TALKS[0][:0]})
        assert both.json()["warnings"][0]["code"] == "text_ignored"


def test_a_checkpoint_that_answers_gets_the_question(start_api: Any) -> None:
    able = msgspec.structs.replace(MODEL, tasks=tuple(Task))
    with start_api(model=able) as api, openai.OpenAI(base_url=f"{api.url}/v1", api_key="none") as sdk:
        reply = sdk.chat.completions.create(model="tiny", messages=chat_messages("Кто это?"))
        assert reply.choices[0].message.content == "да"
        assert reply.choices[0].finish_reason == "length"
        assert reply.usage is not None
        assert reply.usage.completion_tokens == 2
        described = sdk.chat.completions.create(model="tiny", messages=chat_messages(), seed=5)
        assert described.choices[0].message.content == "текст 0 5"


def test_an_answer_says_what_has_no_effect_on_it_and_is_one(start_api: Any) -> None:
    able = msgspec.structs.replace(MODEL, tasks=tuple(Task))
    with start_api(model=able) as api, api.client() as http:
        body = {"model": "tiny", "messages": chat_messages("Кто это?"), "seed": 1, "temperature": 0.5}
        warnings = http.post("/v1/chat/completions", json=body).json()["warnings"]
        assert {(warning["code"], warning["param"]) for warning in warnings} == {
            ("no_effect", "seed"),
            ("no_effect", "temperature"),
        }
        reply = http.post("/v1/chat/completions", json={**body, "n": 3})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "n")


def test_pieces_of_a_text_never_take_a_word_back() -> None:
    pieces = TextPieces()
    said = [pieces.grown(text) for text in ("рыж", "рыжий ко", "рыжий кот си", "другой")]
    assert said == ["", "рыжий", " кот", ""]
    assert pieces.rest("рыжий кот сидит") == " сидит"


def test_pieces_hold_back_what_may_be_the_beginning_of_a_stop_sequence() -> None:
    pieces = TextPieces([" на синем", "фон"])
    said = [
        pieces.grown(text) for text in ("кот сидит на", "кот сидит на син", "кот сидит на синем фоне тут")
    ]
    assert "".join(said) in ("кот", "кот сидит")
    assert "".join(said) + pieces.rest("кот сидит") == "кот сидит"
