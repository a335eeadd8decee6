"""Heads that a server has to refuse, and refusals in the order of their requests."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.app.conftest import Running, running_api
from tests.support.wire import Wire, request

BODY = json.dumps({"prompt": "раз"}).encode()
SLOW = json.dumps({"prompt": "медленно"}).encode()
KEEP_ALIVE_S = 1


@pytest.fixture(scope="module")
def api(redis_url: str) -> Iterator[Running]:
    with running_api(redis_url, keep_alive_s=KEEP_ALIVE_S, header_timeout_s=3) as running:
        yield running


@pytest.fixture
def wire(api: Running) -> Iterator[Wire]:
    with Wire(int(api.url.rpartition(":")[2])) as connection:
        yield connection


def refused(wire: Wire, status: int, code: str) -> None:
    reply = wire.reply()
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (status, code)
    assert reply.fields["connection"] == "close"
    assert wire.rest() is None


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        ([], "1.1"),
        (["Host: a", "Host: a"], "1.1"),
        (["Host: a", "HOST: b"], "1.1"),
        (["Host: a", "Host: b"], "1.0"),
        (["Host: a b"], "1.1"),
        (["Host: a/b"], "1.1"),
        (["Host: user@a"], "1.1"),
        (["Host: кот".encode().decode("latin-1")], "1.1"),
    ],
)
def test_a_request_has_one_host(wire: Wire, lines: list[str], version: str) -> None:
    wire.send("\r\n".join([f"GET /health/live HTTP/{version}", *lines, "", ""]).encode("latin-1"))
    refused(wire, 400, "bad_request")


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        ([], "1.0"),
        (["Host:"], "1.1"),
        (["Host: [::1]:8000"], "1.1"),
        (["Host: my_service.local:8000"], "1.1"),
    ],
)
def test_hosts_that_are_valid(wire: Wire, lines: list[str], version: str) -> None:
    wire.send("\r\n".join([f"GET /health/live HTTP/{version}", *lines, "", ""]).encode())
    assert wire.reply().status == 200


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (["Transfer-Encoding: gzip, chunked"], 501, "transfer_coding"),
        (["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501, "transfer_coding"),
        (["Transfer-Encoding: chunked, gzip"], 400, "bad_request"),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400, "bad_request"),
        (["Transfer-Encoding: identity"], 400, "bad_request"),
        (["Expect: payment"], 417, "expectation_failed"),
        (["Expect: 100-continue", "Expect: more"], 417, "expectation_failed"),
    ],
)
@pytest.mark.parametrize("upgrade", [[], ["Connection: Upgrade", "Upgrade: h2c"]])
def test_codings_and_expectations_that_are_unknown(
    wire: Wire, lines: list[str], status: int, code: str, upgrade: list[str]
) -> None:
    wire.send(request("unknown", "/v1/text2text", *lines, *upgrade), b"0\r\n\r\n")
    refused(wire, status, code)


def test_a_transfer_coding_needs_http_1_1(wire: Wire) -> None:
    wire.send(request("old", "/v1/text2text", "Transfer-Encoding: chunked", version="1.0"), b"0\r\n\r\n")
    refused(wire, 400, "bad_request")


def test_http_1_0_gets_no_interim_response(wire: Wire) -> None:
    lines = ["Expect: 100-continue", "Content-Type: application/json", f"Content-Length: {len(BODY)}"]
    wire.send(request("old", "/v1/text2text", *lines, version="1.0"))
    assert wire.rest() == b""
    wire.send(BODY)
    assert wire.reply().status == 200


def test_http_2_as_a_version_is_refused(wire: Wire) -> None:
    wire.send(request("two", "/health/live", method="GET", version="2.0"))
    refused(wire, 505, "http_version")


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        (b"garbage\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 50_000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nX: ", 408, "header_timeout"),
    ],
)
def test_a_refusal_waits_for_earlier_responses(wire: Wire, bad: bytes, status: int, code: str) -> None:
    wire.send(request("a", body=SLOW) + request("b", body=SLOW) + bad)
    for name in "ab":
        reply = wire.reply()
        assert (reply.status, reply.id) == (200, name)
    refused(wire, status, code)


def test_a_faulty_body_of_a_pipelined_request_gets_its_own_refusal(wire: Wire) -> None:
    chunks = request("b", "/v1/text2text", "Transfer-Encoding: chunked") + b"zz\r\n"
    wire.send(request("a", body=SLOW) + chunks)
    assert wire.reply().id == "a"
    refused(wire, 400, "bad_request")


def test_the_number_of_requests_that_wait_is_bounded(wire: Wire) -> None:
    wire.send(request("slow", body=SLOW) + request("n", "/health/live", method="GET") * 500)
    assert wire.reply().id == "slow"
    assert [wire.reply().id for _ in range(100)] == ["n"] * 100
    refused(wire, 429, "too_many_pipelined")


def test_empty_lines_do_not_keep_a_connection(wire: Wire) -> None:
    wire.send(request("one", "/health/live", method="GET"))
    assert wire.reply().status == 200
    started_s = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - started_s < 10:
            wire.send(b"\r\n")
            time.sleep(0.1)
    assert time.monotonic() - started_s < KEEP_ALIVE_S + 2


def test_a_connection_whose_body_came_after_the_response_is_closed_when_idle(wire: Wire) -> None:
    lines = ["Content-Length: 10"]
    wire.send(request("early", "/health/live", *lines, method="GET"))
    assert wire.reply().status == 200
    wire.send(b"0123456789")
    wire.send(request("next", "/health/live", method="GET"))
    assert wire.reply().id == "next"
    wire.send(request("early", "/health/live", *lines, method="GET"))
    assert wire.reply().status == 200
    wire.send(b"0123456789")
    assert wire.rest(quiet_s=KEEP_ALIVE_S + 2) is None


def test_a_slow_body_of_a_pipelined_request_is_not_taken_for_a_leftover(wire: Wire) -> None:
    """The response to the first request must not start the time limit for the second body."""
    length = [f"Content-Length: {len(BODY)}", "Content-Type: application/json"]
    wire.send(request("a", body=SLOW) + request("b", "/v1/text2text", *length))
    assert wire.reply().id == "a"
    for byte in BODY[:12]:
        wire.send(bytes([byte]))
        time.sleep(0.5)
    wire.send(BODY[12:])
    assert wire.reply().id == "b"
