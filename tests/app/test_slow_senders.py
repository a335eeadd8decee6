"""Many slow senders at once, and bodies of a wrong length: each gets a reply or is disconnected, and no other
client is affected.
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.app.conftest import Running, running_api
from tests.app.test_limits import error_of, exchange

MAX_BODIES = 200_000
BODY = json.dumps({"prompt": "раз"}).encode()


def head(*lines: str) -> bytes:
    first = ["POST /v1/text2text HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def strict(redis_url: str) -> Iterator[Running]:
    """An API with little memory for bodies, and short timeouts."""
    with running_api(
        redis_url,
        body_idle_timeout_s=1.5,
        body_timeout_s=3.0,
        header_timeout_s=1.5,
        max_body_bytes=100_000,
        max_bodies_bytes=MAX_BODIES,
    ) as running:
        yield running


def drip(connections: list[socket.socket], seconds: float) -> None:
    """One byte a connection, ten times a second at most."""
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        for connection in connections:
            with suppress(OSError):
                connection.send(b" ")
        time.sleep(0.1)


@pytest.mark.parametrize("lines", [["Content-Length: 90000"], ["Transfer-Encoding: chunked"]])
def test_slow_senders_do_not_lock_the_others_out(strict: Running, lines: list[str]) -> None:
    slow = [strict.socket() for _ in range(100)]
    for connection in slow:
        connection.sendall(head(*lines) + (b"" if "chunked" in lines[0] else b"{"))
    drip(slow, 0.5)
    with strict.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
        assert http.get("/health/live").status_code == 200
    for connection in slow:
        connection.close()


def test_one_byte_at_a_time_is_cut_off_with_an_answer_by_the_whole_time(strict: Running) -> None:
    started_s = time.monotonic()
    with strict.socket() as connection:
        connection.sendall(head("Content-Length: 1000"))
        drip([connection], 3.3)
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert error_of(received)["code"] == "body_timeout"
    assert time.monotonic() - started_s < 8


def test_bodies_that_are_really_there_count_and_the_next_is_told_to_wait(strict: Running) -> None:
    holders = [strict.socket() for _ in range(2)]
    for connection in holders:
        connection.sendall(head("Content-Length: 96000") + b" " * 95_000)
    time.sleep(0.5)
    assert strict.services.bodies._held == 190_000
    with strict.client() as http:
        reply = http.post("/v1/text2text", json={"prompt": "раз"}, headers={"x-padding": "a"})
        assert reply.status_code == 200
        refused = http.post(
            "/v1/text2text", content=b" " * 50_000, headers={"content-type": "application/json"}
        )
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "server_busy"
        assert refused.headers["retry-after"] == "2"
    for connection in holders:
        connection.close()
    deadline_s = time.monotonic() + 5
    while strict.services.bodies._held:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_chunked_body_is_counted_against_memory_while_it_comes(strict: Running) -> None:
    holder = strict.socket()
    holder.sendall(head("Content-Length: 96000") + b" " * 95_000)
    second = strict.socket()
    second.sendall(head("Content-Length: 96000") + b" " * 95_000)
    time.sleep(0.5)

    def pieces() -> Iterator[bytes]:
        yield from (b" " * 10_000 for _ in range(5))

    with strict.client() as http:
        reply = http.post("/v1/text2text", content=pieces(), headers={"content-type": "application/json"})
    assert reply.status_code == 503
    holder.close()
    second.close()
    time.sleep(0.2)
    assert strict.services.bodies._held == 0


def test_a_body_shorter_than_it_says_waits_and_is_cut_off(strict: Running) -> None:
    received = exchange(strict, head("Content-Length: 500") + BODY)
    assert received.startswith(b"HTTP/1.1 408 ")


def test_what_follows_a_body_that_was_longer_than_it_said_is_no_request(strict: Running) -> None:
    received = exchange(strict, head(f"Content-Length: {len(BODY)}") + BODY + b"garbage behind it\r\n\r\n")
    assert received.endswith(error_bytes("bad_request"))


def error_bytes(code: str) -> bytes:
    return f'"code":"{code}"}}}}'.encode()


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: -5"],
        ["Content-Length: five"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Content-Length: 99999999999999999999999999"],
    ],
    ids=" and ".join,
)
def test_lengths_that_contradict_are_refused(strict: Running, lines: list[str]) -> None:
    received = exchange(strict, head(*lines) + b"5\r\nhello\r\n0\r\n\r\n")
    assert received[9:12] in (b"400", b"413"), received[:200]


@pytest.mark.parametrize(
    "chunks",
    [b"fffffffffffffffff\r\n", b"-1\r\nabc\r\n", b"zz\r\nabc\r\n", b"5\r\nhello world\r\n"],
)
def test_chunks_that_lie_are_refused(strict: Running, chunks: bytes) -> None:
    received = exchange(strict, head("Transfer-Encoding: chunked") + chunks)
    assert received.startswith(b"HTTP/1.1 400 "), received[:200]


def test_an_endless_chunked_body_is_answered_at_the_limit(strict: Running) -> None:
    with strict.socket() as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        connection.settimeout(10)
        sent = 0
        with suppress(OSError):
            while sent < 50_000_000:
                connection.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
                sent += 0x4000
                if sent > 300_000:
                    break
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "body", [b"[" + b"{}," * 30_000 + b"1]", b'{"prompt": [' + b'"a",' * 24_000 + b"1]}", b"[" * 60_000]
)
def test_json_of_very_many_values_costs_little(strict: Running, body: bytes) -> None:
    with strict.client() as http:
        reply = http.post("/v1/text2text", content=body, headers={"content-type": "application/json"})
    assert reply.status_code in (400, 422)


def test_the_number_of_values_in_a_body_is_bounded(redis_url: str) -> None:
    with running_api(redis_url) as api, api.client() as http:
        headers = {"content-type": "application/json"}
        for body in (b"[" + b"{}," * 5_000_000 + b"1]", b"[" + b"1," * 7_000_000 + b"1]"):
            reply: httpx.Response = http.post("/v1/text2text", content=body, headers=headers)
            assert reply.status_code == 400
            assert "too many values" in reply.json()["error"]["message"]


def test_the_server_lives_on_after_all_of_them(strict: Running) -> None:
    with strict.client() as http:
        assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
    assert strict.services.bodies._held == 0
