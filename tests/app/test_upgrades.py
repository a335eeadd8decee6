"""Requests that ask for an upgrade: served as plain HTTP/1.1, each with its body and exactly one response."""

import io
import itertools
import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.app.conftest import Running, running_api
from tests.support.programs import require
from tests.support.wire import Wire, chunked, request

BODY = json.dumps({"prompt": "раз"}).encode()
SMUGGLED = request("smuggled", "/v1/models", method="GET")
UPGRADES = {
    "h2c": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    "websocket": [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ],
    "tls": ["Connection: keep-alive, upgrade", "Upgrade: TLS/1.0"],
    "unknown": ["CONNECTION: UPGRADE", "UPGRADE: foo"],
    "several": ["Upgrade: h2c, websocket", "Connection: upgrade"],
    "two lines": ["Upgrade: h2c", "Upgrade: websocket/13", "Connection: keep-alive", "Connection: Upgrade"],
}


@pytest.fixture(scope="module")
def api(redis_url: str) -> Iterator[Running]:
    with running_api(redis_url) as running:
        yield running


@pytest.fixture
def wire(api: Running) -> Iterator[Wire]:
    with Wire(port_of(api)) as connection:
        yield connection


def port_of(api: Running) -> int:
    return int(api.url.rpartition(":")[2])


def in_packets(head: bytes, body: bytes, split: str) -> list[bytes]:
    if split == "one":
        return [head + body]
    if split == "later":
        return [head, body]
    return [head[:10], head[10:-2], head[-2:] + body[:3], body[3:]]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("lines", UPGRADES.values(), ids=UPGRADES)
def test_a_request_for_an_upgrade_keeps_its_body(api: Running, lines: list[str], framing: str) -> None:
    """Body in the same or in a later packet, with and without Expect, next request at once or later."""
    body = BODY if framing == "length" else chunked(BODY)
    length = f"Content-Length: {len(BODY)}" if framing == "length" else "Transfer-Encoding: chunked"
    lines = [*lines, length, "Content-Type: application/json"]
    for split, expect, pipelined in itertools.product(
        ("one", "later", "many"), ([], ["Expect: 100-continue"]), (True, False)
    ):
        following = request("second", "/health/live", method="GET")
        packets = in_packets(request("first", "/v1/text2text", *lines, *expect), body, split)
        with Wire(port_of(api)) as wire:
            wire.send(*packets[:-1], packets[-1] + (following if pipelined else b""))
            first = wire.reply()
            assert (first.status, first.id) == (200, "first"), (split, expect, pipelined, first)
            assert json.loads(first.body)["texts"]
            if not pipelined:
                wire.send(following)
            second = wire.reply()
            assert (second.status, second.id) == (200, "second")
            assert wire.rest(quiet_s=0.02) == b""


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
@pytest.mark.parametrize("padding", [0, 3, 150_000])
@pytest.mark.parametrize(("method", "path"), [("GET", "/health/live"), ("POST", "/v1/text2text")])
def test_a_body_is_never_a_request(wire: Wire, method: str, path: str, padding: int, pause_s: float) -> None:
    attack = request("outer", path, *UPGRADES["h2c"], method=method, body=b"\r\n" * padding + SMUGGLED)
    head, end, body = attack.partition(b"\r\n\r\n")
    wire.send(head + end, body[: len(body) // 2], body[len(body) // 2 :], pause_s=pause_s)
    assert wire.reply().id == "outer"
    wire.send(request("next", "/health/live", method="GET"))
    assert wire.reply().id == "next"
    assert wire.rest() == b""


def test_chunks_of_an_upgrade_are_never_requests(wire: Wire) -> None:
    lines = [*UPGRADES["websocket"], "Transfer-Encoding: chunked"]
    wire.send(request("outer", "/health/live", *lines, method="GET"), chunked(SMUGGLED, 1000))
    assert wire.reply().id == "outer"
    assert wire.rest() == b""


def test_many_pipelined_upgrades_get_their_own_responses(wire: Wire) -> None:
    numbers = range(60)
    wire.send(b"".join(request(f"n{n}", "/v1/text2text", *UPGRADES["h2c"], body=BODY) for n in numbers))
    assert [(wire.reply().id) for _ in numbers] == [f"n{n}" for n in numbers]


def test_other_connection_options_are_kept(wire: Wire) -> None:
    wire.send(request("last", "/v1/text2text", "Connection: close, Upgrade", "Upgrade: h2c", body=BODY))
    reply = wire.reply()
    assert (reply.status, reply.fields["connection"]) == (200, "close")
    assert wire.rest() is None


def test_http_1_0_may_ask_too(wire: Wire) -> None:
    wire.send(request("old", "/v1/text2text", *UPGRADES["h2c"], version="1.0", body=BODY))
    assert wire.reply().status == 200
    assert wire.rest() is None


def test_an_upgrade_with_two_lengths_is_refused(wire: Wire) -> None:
    lines = [*UPGRADES["h2c"], "Transfer-Encoding: chunked"]
    wire.send(request("both", "/health/live", *lines, body=SMUGGLED))
    assert wire.reply().status == 400
    assert wire.rest() is None


@pytest.mark.parametrize("lines", [[], UPGRADES["websocket"], [f"Content-Length: {len(SMUGGLED)}"]])
def test_connect_is_refused_and_its_tunnel_is_not_parsed(wire: Wire, lines: list[str]) -> None:
    wire.send(request("c", "example.org:443", *lines, method="CONNECT"), SMUGGLED)
    assert wire.reply().status == 400
    assert wire.rest() is None


def test_the_preface_of_http_2_is_refused(wire: Wire) -> None:
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED)
    assert wire.reply().status == 400
    assert wire.rest() is None


def test_curl_offers_http_2_and_its_post_is_answered(api: Running) -> None:
    curl = require("curl")
    features = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout
    if "HTTP2" not in features:
        pytest.skip("this curl has no HTTP2")
    command = [curl, "-sS", "--http2", "-H", "Content-Type: application/json", "-d", BODY.decode()]
    command += ["-w", "\n%{http_code} %{http_version}", f"{api.url}/v1/text2text"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.endswith("\n200 1.1"), output


def test_upgrades_leave_nothing_in_the_log(wire: Wire, log: io.StringIO) -> None:
    before = len(log.getvalue())
    wire.send(request("quiet", "/v1/text2text", *UPGRADES["websocket"], body=BODY))
    assert wire.reply().status == 200
    assert "WebSocket" not in log.getvalue()[before:]
    assert "pgrade" not in log.getvalue()[before:]
