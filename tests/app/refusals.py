"""What a refusal must look like, and pictures to be refused."""

import base64
from typing import Any

import httpx

from tests.app.worker import picture

PICTURE = base64.b64encode(picture(200)).decode()
GIF = base64.b64encode(b"GIF89a" + bytes(60)).decode()


def refused(reply: httpx.Response, status: int, code: str, param: str | None, *words: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["x-request-id"]
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    for word in words:
        assert word in error["message"]
    assert "Traceback" not in error["message"]
    return error
