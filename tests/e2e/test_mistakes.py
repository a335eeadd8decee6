"""Mistakes in requests get the error shape of the contract; nothing of the server's inside shows."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import Server

SHAPE = {"message", "type", "param", "code"}


def assert_error(reply: httpx.Response, status: int, param: str | None = None) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == SHAPE
    assert error["message"]
    if param is not None:
        assert error["param"] == param
    for secret in ("Traceback", ".py", "/site-packages/", "object at 0x"):
        assert secret not in reply.text
    assert reply.headers["x-request-id"]
    return error


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("/v1/text2image", {}, "prompt"),
        ("/v1/text2image", {"prompt": 3}, "prompt"),
        ("/v1/text2image", {"prompt": "кот", "n": 99}, "n"),
        ("/v1/text2image", {"prompt": "кот", "colour": "red"}, "colour"),
        ("/v1/text2image", {"prompt": "кот", "temperature": -1}, "temperature"),
        ("/v1/text2image", {"prompt": "к" * 2001}, "prompt"),
        ("/v1/classify", {"image": "", "classes": ["кот"]}, None),
        ("/v1/rank/texts", {"image": "AAAA", "texts": []}, None),
        ("/v1/jobs", {"task": "paint", "input": {}}, "task"),
    ],
)
def test_wrong_field_is_named(server_v2: Server, route: str, body: dict[str, Any], param: str | None) -> None:
    reply = server_v2.client.post(route, json=body)
    assert reply.status_code in (400, 422)
    assert_error(reply, reply.status_code, param)


def test_body_that_is_no_json_is_refused(server_v2: Server) -> None:
    reply = server_v2.client.post(
        "/v1/text2image", content=b"{prompt", headers={"content-type": "application/json"}
    )
    assert reply.status_code in (400, 422)
    assert_error(reply, reply.status_code)


def test_body_of_another_kind_is_refused(server_v2: Server) -> None:
    reply = server_v2.client.post("/v1/text2image", content=b"prompt", headers={"content-type": "text/plain"})
    assert_error(reply, 415)


def test_picture_that_is_none_is_refused(server_v2: Server) -> None:
    picture = base64.b64encode(b"GIF89a, or so it says").decode()
    reply = server_v2.client.post("/v1/image2text", json={"image": picture})
    assert reply.status_code in (400, 415, 422)
    assert_error(reply, reply.status_code)


def test_damaged_picture_is_refused(server_v2: Server, tiny_v2: Path) -> None:
    data = (tiny_v2 / "picture0.png").read_bytes()[:60]
    reply = server_v2.client.post("/v1/image2text", json={"image": base64.b64encode(data).decode()})
    assert reply.status_code in (400, 422)
    assert_error(reply, reply.status_code)


def test_body_above_the_limit_is_refused(server_v2: Server) -> None:
    reply = server_v2.client.post("/v1/image2text", json={"image": "A" * (17 << 20)})
    assert_error(reply, 413)


def test_unknown_job_and_unknown_route_are_not_found(server_v2: Server) -> None:
    assert_error(server_v2.client.get("/v1/jobs/job_0123456789abcdef0123456789abcdef"), 404)
    assert_error(server_v2.client.get("/v1/nothing"), 404)


def test_question_to_a_model_that_cannot_answer_is_a_clear_conflict(server_v2: Server) -> None:
    error = assert_error(server_v2.client.post("/v1/answer", json={"question": "что это?"}), 409)
    assert "answer" in error["message"]
