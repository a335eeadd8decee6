"""Every way to get a request wrong: the status, the shape, the field that is named, and the remedy."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.app.conftest import Running
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


FIELD_FAULTS = [
    ("/v1/text2image", {}, "missing_field", "prompt", "is required"),
    ("/v1/text2image", {"prompt": "к", "top_p": 1.5}, "invalid_value", "top_p", "between 0 and 1; got 1.5"),
    ("/v1/text2image", {"prompt": "к", "top_k": -1}, "invalid_value", "top_k", "between 0 and 65536"),
    ("/v1/text2image", {"prompt": "к", "temperature": 0}, "invalid_value", "temperature", "0.01"),
    ("/v1/text2image", {"prompt": "к", "n": 17}, "invalid_value", "n", "between 1 and 16; got 17"),
    ("/v1/text2image", {"prompt": "к", "n": 0}, "invalid_value", "n", "got 0"),
    ("/v1/text2image", {"prompt": "к", "n": 1.5}, "invalid_value", "n", "whole number; got 1.5"),
    ("/v1/text2image", {"prompt": "к", "n": True}, "invalid_value", "n", "whole number; got true"),
    ("/v1/text2image", {"prompt": "к", "n": "2"}, "invalid_value", "n", 'whole number; got "2"'),
    ("/v1/text2image", {"prompt": "к", "n": None}, "invalid_value", "n", "whole number; got null"),
    (
        "/v1/text2image",
        {"prompt": "к", "n": 4, "candidates": 3},
        "too_few_candidates",
        "candidates",
        "at least n = 4",
    ),
    ("/v1/text2image", {"prompt": "к", "candidates": 257}, "invalid_value", "candidates", "256"),
    ("/v1/text2image", {"prompt": "к", "seed": 2**63}, "invalid_value", "seed", "9223372036854775807"),
    ("/v1/text2image", {"prompt": "к", "seed": -1}, "invalid_value", "seed", "between 0"),
    ("/v1/text2image", {"prompt": "к", "guidance": 1.1}, "invalid_value", "guidance", "between 0"),
    ("/v1/text2image", {"prompt": "к", "format": "gif"}, "invalid_value", "format", "'png'"),
    ("/v1/text2image", {"prompt": "к", "размер": 1}, "unknown_field", "размер", "Known fields: candidates"),
    ("/v1/text2image", {"prompt": ""}, "invalid_value", "prompt", "at least one character"),
    ("/v1/text2image", {"prompt": " \n"}, "invalid_value", "prompt", "at least one character"),
    (
        "/v1/text2image",
        {"prompt": "я" * 2001},
        "invalid_value",
        "prompt",
        "at most 2000 characters",
    ),
    ("/v1/text2image", {"prompt": "a\u0000b"}, "invalid_value", "prompt", "U+0000 at character 1"),
    ("/v1/text2image", {"prompt": "a\u001bb"}, "invalid_value", "prompt", "U+001B"),
    ("/v1/text2image", {"prompt": ["кот"]}, "invalid_value", "prompt", "must be a string; got a list"),
    ("/v1/text2image", [], "invalid_value", None, "must be an object"),
    ("/v1/text2image", "кот", "invalid_value", None, "must be an object"),
    (
        "/v1/text2image",
        {"prompt": "к", "image_prompt": {"image": PICTURE}},
        "invalid_image_prompt",
        "image_prompt",
        "give borders or mask",
    ),
    (
        "/v1/text2image",
        {"prompt": "к", "image_prompt": {"image": PICTURE, "borders": {"up": 4}}},
        "invalid_borders",
        "image_prompt.borders.up",
        "leave some to be drawn",
    ),
    (
        "/v1/text2image",
        {"prompt": "к", "image_prompt": {"image": GIF, "borders": {"up": 1}}},
        "unsupported_picture_format",
        "image_prompt.image",
        "PNG, JPEG or WebP",
    ),
    ("/v1/image2text", {"image": 5}, "invalid_value", "image", "base64"),
    ("/v1/image2text", {"image": "http://a/b.png"}, "picture_url_refused", "image", "never fetched"),
    ("/v1/image2text", {"image": "file:///etc/passwd"}, "picture_url_refused", "image", "never fetched"),
    ("/v1/image2text", {"image": "не base64"}, "invalid_picture", "image", "not valid base64"),
    ("/v1/image2text", {"image": "data:image/png,abc"}, "invalid_picture", "image", "data:image/png;base64"),
    ("/v1/image2text", {"image": ""}, "unsupported_picture_format", "image", "PNG"),
    ("/v1/image2text", {"image": PICTURE[:80]}, "invalid_picture", "image", "damaged"),
    (
        "/v1/image2text",
        {"image": PICTURE, "max_tokens": 17},
        "invalid_max_tokens",
        "max_tokens",
        "at most 16",
    ),
    ("/v1/text2text", {"prompt": "к", "max_tokens": 0}, "invalid_value", "max_tokens", "got 0"),
    ("/v1/rank/images", {"text": "к", "images": []}, "invalid_value", "images", "at least 1 items"),
    (
        "/v1/rank/images",
        {"text": "к", "images": [PICTURE] * 257},
        "invalid_value",
        "images",
        "at most 256 items",
    ),
    (
        "/v1/rank/images",
        {"text": "к", "images": [PICTURE, GIF]},
        "unsupported_picture_format",
        "images[1]",
        "PNG",
    ),
    (
        "/v1/rank/images",
        {"text": "к", "images": [{"codes": [1, 2]}]},
        "invalid_codes",
        "images[0].codes",
        "16 codes",
    ),
    (
        "/v1/rank/images",
        {"text": "к", "images": [PICTURE, {"codes": [64] * 16}]},
        "invalid_codes",
        "images[1].codes",
        "between 0 and 63",
    ),
    ("/v1/rank/texts", {"image": PICTURE, "texts": ["a", ""]}, "invalid_value", "texts[1]", "is empty"),
    ("/v1/classify", {"image": PICTURE, "classes": ["один"]}, "invalid_value", "classes", "at least 2 items"),
    ("/v1/classify", {"image": PICTURE, "classes": ["a"] * 1001}, "invalid_value", "classes", "1000"),
    (
        "/v1/classify",
        {"image": PICTURE, "classes": ["a", "b"], "template": "{} и {}"},
        "invalid_value",
        "template",
        "exactly once",
    ),
    ("/v1/jobs", {"task": "text2image"}, "missing_field", "input", "is required"),
    ("/v1/jobs", {"task": "рисуй", "input": {}}, "invalid_value", "task", "must be one of"),
    ("/v1/jobs", {"task": "text2image", "input": {"n": 1}}, "missing_field", "input.prompt", "is required"),
    (
        "/v1/jobs",
        {"task": "image2text", "input": {"image": GIF}},
        "unsupported_picture_format",
        "input.image",
        "PNG",
    ),
    (
        "/v1/jobs",
        {"task": "text2image", "input": {"prompt": "к"}, "priority": 11},
        "invalid_value",
        "priority",
        "between -10 and 10",
    ),
]


@pytest.mark.parametrize(("path", "body", "code", "param", "words"), FIELD_FAULTS)
def test_a_wrong_field_is_named_with_its_remedy(
    http: httpx.Client, path: str, body: object, code: str, param: str | None, words: str
) -> None:
    error = refused(http.post(path, json=body), 422, code, param, words)
    assert error["type"] == "invalid_request_error"


def raw(http: httpx.Client, body: bytes, kind: str | None = "application/json") -> httpx.Response:
    return http.post("/v1/text2image", content=body, headers={"content-type": kind} if kind else {})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        (b'{"prompt": "a", "top_p": NaN}', "NaN is not a JSON number"),
        (b'{"prompt": "a", "top_p": Infinity}', "Infinity"),
        (b"[" * 15_000, "nested too deeply"),
        (b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}", "too long"),
        ('{"prompt": "кот"}'.encode("utf-16"), "UTF-8"),
    ],
)
def test_bad_json_is_told_from_bad_values(http: httpx.Client, body: bytes, words: str) -> None:
    refused(raw(http, body), 400, "invalid_json", None, words)


def test_a_lone_surrogate_is_refused_as_text(http: httpx.Client) -> None:
    refused(
        raw(http, b'{"prompt": "a\\ud800b"}'), 422, "invalid_value", "prompt", "surrogate pair at character 1"
    )


def test_a_lone_surrogate_in_a_field_name_cannot_break_the_reply(http: httpx.Client) -> None:
    reply = raw(http, b'{"prompt": "a", "\\udfff": 1}')
    assert reply.status_code == 422
    assert "surrogate" in reply.json()["error"]["message"]


def test_numbers_beyond_float_are_refused(http: httpx.Client) -> None:
    refused(raw(http, b'{"prompt": "a", "top_p": 1e999}'), 422, "invalid_value", "top_p", "number")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_other_content_types_are_refused(http: httpx.Client, kind: str | None) -> None:
    refused(raw(http, b"{}", kind), 415, "unsupported_media_type", "Content-Type", "application/json")


def test_multipart_is_refused_where_there_is_no_picture(http: httpx.Client) -> None:
    reply = http.post("/v1/text2text", files={"prompt": (None, "кот")})
    refused(reply, 415, "unsupported_media_type", "Content-Type", "application/json; got")


@pytest.mark.parametrize(
    ("files", "status", "code", "param"),
    [
        ({"image": ("a", b"x"), "n": (None, "x")}, 422, "invalid_value", "n"),
        ({"image": ("a", picture(1)), "n": (None, "99")}, 422, "invalid_value", "n"),
        ({"image": ("a", picture(1)), "other": (None, "1")}, 422, "unknown_field", "other"),
        ({"image": ("a", picture(1)), "other": ("f", b"1")}, 422, "unknown_field", "other"),
        ({"image": ("a", picture(1)), "request": (None, "{")}, 400, "invalid_json", "request"),
        ({"image": ("a", picture(1)), "request": (None, "[]")}, 422, "invalid_value", "request"),
        ({"image": ("a", b"not a picture")}, 422, "unsupported_picture_format", "image"),
        ({"image": (None, "http://example.org/cat.png")}, 422, "picture_url_refused", "image"),
        ({"n": (None, "1")}, 422, "missing_field", "image"),
    ],
)
def test_faults_in_a_form_are_named_too(
    http: httpx.Client, files: Any, status: int, code: str, param: str
) -> None:
    refused(http.post("/v1/image2text", files=files), status, code, param)


def test_two_files_for_one_picture_are_refused(http: httpx.Client) -> None:
    files = [("image", ("a", picture(1))), ("image", ("b", picture(2)))]
    refused(http.post("/v1/image2text", files=files), 422, "invalid_value", "image", "given twice")


def test_a_broken_form_is_refused(http: httpx.Client) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        reply = http.post("/v1/image2text", content=b"--y\r\nnonsense", headers={"content-type": kind})
        refused(reply, 400, "invalid_multipart", None)


def test_unknown_paths_and_methods_keep_the_shape(http: httpx.Client) -> None:
    refused(http.get("/v1/nothing"), 404, "not_found", None, "/v1/nothing", "/docs")
    reply = http.get("/v1/text2image")
    refused(reply, 405, "method_not_allowed", None, "GET")
    assert reply.headers["allow"] == "POST"
    refused(http.post("/v1/text2image/", json={"prompt": "a"}), 404, "not_found", None)


def test_a_job_that_nobody_knows_is_not_found(http: httpx.Client) -> None:
    for job_id in ("job_nothing", "%00", "a" * 200, "..%2f"):
        for reply in (http.get(f"/v1/jobs/{job_id}"), http.delete(f"/v1/jobs/{job_id}")):
            assert reply.status_code == 404
            assert reply.json()["error"]["type"] == "invalid_request_error"
    refused(http.get("/v1/jobs/job_x/events"), 404, "job_not_found", "id")


def test_what_the_worker_finds_wrong_reaches_the_client(http: httpx.Client) -> None:
    reply = http.post("/v1/text2image", json={"prompt": "неверно"})
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "invalid_text"
    failed = http.post("/v1/text2image", json={"prompt": "сбой"})
    assert failed.status_code == 500
    assert failed.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize("key", ["", "ключ".encode(), "a" * 256, "a\tb"])
def test_a_bad_idempotency_key_is_refused(http: httpx.Client, key: str | bytes) -> None:
    headers = {"Idempotency-Key": key}
    reply = http.post("/v1/text2text", json={"prompt": "a"}, headers=headers)  # type: ignore[arg-type]
    refused(reply, 400, "invalid_idempotency_key", "Idempotency-Key", "1–255")


@pytest.mark.parametrize("deadline", ["0", "-1", "nan", "1e9", "скоро".encode()])
def test_a_bad_deadline_is_refused(http: httpx.Client, deadline: str | bytes) -> None:
    headers = {"x-deadline-s": deadline}
    reply = http.post("/v1/text2text", json={"prompt": "a"}, headers=headers)  # type: ignore[arg-type]
    refused(reply, 422, "invalid_value", "x-deadline-s", "between 0.1 and 86400")


def test_past_the_deadline_the_job_is_cancelled_and_not_tried_again(http: httpx.Client, api: Running) -> None:
    reply = http.post("/v1/text2text", json={"prompt": "жди"}, headers={"x-deadline-s": "0.5"})
    refused(reply, 504, "deadline_exceeded", None, "respond-async")
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-1.2:3_4", True), ("a b", False), ("x" * 129, False), ("<script>", False)]
)
def test_a_sane_request_id_is_kept_and_others_are_replaced(http: httpx.Client, sent: str, kept: bool) -> None:
    answered = http.get("/health/live", headers={"x-request-id": sent}).headers["x-request-id"]
    assert (answered == sent) is kept


def test_every_reply_has_safe_headers(http: httpx.Client) -> None:
    for reply in (http.get("/health/live"), http.get("/nothing"), http.post("/v1/classify", content=b"")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "server" not in reply.headers


def test_an_unforeseen_failure_tells_nothing_of_the_inside(
    http: httpx.Client, api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret inside /opt/server")

    monkeypatch.setattr(api.services.models, "current", fail)
    error = refused(http.post("/v1/text2text", json={"prompt": "a"}), 500, "internal_error", None)
    assert "secret" not in json.dumps(error)
