"""Names of the model: which ones requests may send, and what /v1/models lists."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from app.settings import Settings
from tests.app.conftest import Running
from tests.app.worker import picture

PNG = "data:image/png;base64," + base64.b64encode(picture(1)).decode()
CHAT = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]
POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/images/generations", {"prompt": "кот"}),
    ("/v1/images/edits", {"prompt": "кот", "image": PNG}),
    ("/v1/images/variations", {"image": PNG}),
    ("/v1/chat/completions", {"messages": CHAT}),
    ("/v1/completions", {"prompt": "кот"}),
    ("/v1/responses", {"input": "кот", "tools": [{"type": "image_generation"}]}),
]


@pytest.fixture
def sdk(api: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models_lists_what_is_loaded(sdk: openai.OpenAI) -> None:
    assert [(model.id, model.created) for model in sdk.models.list()] == [("tiny", 1_700_000_000)]
    assert sdk.models.retrieve("tiny").owned_by == "rudolph"
    with pytest.raises(openai.NotFoundError, match="tiny") as caught:
        sdk.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_an_unknown_model_is_not_found_on_any_route(
    http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    for name in ("gpt-image-1", "tiny@r2", "Tiny", ""):
        reply = http.post(path, json={**body, "model": name})
        assert reply.status_code == 404
        assert (reply.json()["error"]["code"], reply.json()["error"]["param"]) == ("model_not_found", "model")
        assert "tiny" in reply.json()["error"]["message"]
    for name in ("tiny", "tiny@r1", "rudolph", "dummy", "http://127.0.0.1:8000", None):
        assert http.post(path, json={**body, "model": name}).status_code == 200


def test_the_model_of_a_reply_can_be_retrieved(sdk: openai.OpenAI) -> None:
    for name in ("tiny", "tiny@r1", "rudolph"):
        reply = sdk.completions.create(model=name, prompt="кот")
        assert sdk.models.retrieve(reply.model).id == reply.model
        assert sdk.models.retrieve(name).id == name


def test_the_operator_names_the_model(start_api: Any) -> None:
    with start_api(served_model_name="gpt-image-1, dall-e-3") as api, api.client() as http:
        assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["gpt-image-1", "dall-e-3"]
        for name, model in (
            ("dall-e-3", "dall-e-3"),
            ("gpt-image-1", "gpt-image-1"),
            ("tiny", "gpt-image-1"),
        ):
            reply = http.post("/v1/completions", json={"prompt": "кот", "model": name})
            assert reply.json()["model"] == model
        assert http.post("/v1/completions", json={"prompt": "кот", "model": "gpt-4"}).status_code == 404


def test_a_star_accepts_any_name(start_api: Any) -> None:
    with start_api(served_model_name="*") as api, api.client() as http:
        for path, body in POSTS:
            assert http.post(path, json={**body, "model": "gpt-image-99"}).status_code == 200
        reply = http.post("/v1/completions", json={"prompt": "кот", "model": "gpt-4"}).json()
        assert http.get(f"/v1/models/{reply['model']}").status_code == 200


def test_names_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUDOLPH_SERVED_MODEL_NAME", "a, b ,,*")
    monkeypatch.setenv("RUDOLPH_STRICT_SIZE", "1")
    monkeypatch.setenv("RUDOLPH_CHAT_TEXT", "refuse")
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.served_model_name == ("a", "b", "*")
    assert settings.strict_size
    assert settings.chat_text == "refuse"
