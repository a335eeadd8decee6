"""Every way to get a request wrong: the status, the shape, the field that is named, and the remedy."""

import json
from typing import Any

import httpx
import pytest

from tests.app.conftest import Running
from tests.app.refusals import refused
from tests.app.worker import picture


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
    assert reply.headers["allow"] == "OPTIONS, POST"
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
