"""Chunk sizes, extensions and trailers: bytes of a message that are no body, counted and dropped."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.server import server_config
from app.settings import Settings
from tests.app.conftest import Running
from tests.faults.http_server import ApiProcess, api_process
from tests.support.probes import probing
from tests.support.wire import Wire, chunked, request

BODY = json.dumps({"prompt": "раз"}).encode()
CHUNKED = ["Transfer-Encoding: chunked", "Content-Type: application/json"]
BLOCK = 65536
MAX_SENT = 64_000_000
"""More than the sockets' buffers hold: who has sent it was not cut off."""
MAX_GROWTH = 24_000_000
MAX_PROBE_S = 0.1
ATTEMPTS = 3
ENDLESS = {
    "trailer names": (b"0\r\n", b"a: b\r\n" * (BLOCK // 6)),
    "a trailer's value": (b"0\r\na: ", b"b" * BLOCK),
    "a trailer's name": (b"0\r\n", b"n" * BLOCK),
    "a chunk's extension": (b"1;a=", b"b" * BLOCK),
    "extensions": (b"1", b";a=b" * (BLOCK // 4)),
    "a chunk's size": (b"", b"0" * BLOCK),
    "chunks of one byte": (b"", b"1\r\n \r\n" * (BLOCK // 6)),
    "chunks with extensions": (b"", (b"1;" + b"e" * 40 + b"\r\n \r\n") * (BLOCK // 47)),
}
"""What comes first, and what is then repeated."""


@pytest.fixture(scope="module")
def open_server(redis_url: str) -> Iterator[ApiProcess]:
    with api_process(redis_url, f"test-{uuid.uuid4().hex[:8]}") as process:
        yield process


@pytest.fixture(scope="module")
def closed_server(redis_url: str) -> Iterator[ApiProcess]:
    """A server with keys, attacked without one."""
    with api_process(redis_url, f"test-{uuid.uuid4().hex[:8]}", api_keys="a=0123456789abcdef") as process:
        yield process


def attack(port: int, head: bytes, first: bytes, block: bytes, limit: int = MAX_SENT) -> int:
    """Send until the server closes; the number of bytes that went out."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(head + first)
            while sent < limit:
                connection.sendall(block)
                sent += len(block)
        except OSError:
            pass
    return sent


def endure(server: ApiProcess, head: bytes, first: bytes, block: bytes) -> None:
    """Three attackers at once; the loop, the memory and the bytes taken stay within their bounds."""
    before = server.memory_bytes()
    longest_s: list[float] = []
    while len(longest_s) < ATTEMPTS and min(longest_s, default=1) > MAX_PROBE_S:
        with probing(server.port, server.process.pid) as times_s, ThreadPoolExecutor(3) as pool:
            sent = list(pool.map(lambda _: attack(server.port, head, first, block), range(3)))
        longest_s.append(max(times_s))
        assert max(sent) < MAX_SENT, sent
    assert min(longest_s) <= MAX_PROBE_S, longest_s
    assert server.memory_bytes() - before < MAX_GROWTH


@pytest.mark.parametrize(("first", "block"), ENDLESS.values(), ids=ENDLESS)
def test_endless_framing_is_cut_off(open_server: ApiProcess, first: bytes, block: bytes) -> None:
    endure(open_server, request("endless", "/v1/text2text", *CHUNKED), first, block)


@pytest.mark.parametrize(("first", "block"), ENDLESS.values(), ids=ENDLESS)
def test_endless_framing_after_a_refusal_is_cut_off(
    closed_server: ApiProcess, first: bytes, block: bytes
) -> None:
    endure(closed_server, request("endless", "/v1/text2text", *CHUNKED), first, block)


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_framing_after_an_upgrade_is_cut_off(open_server: ApiProcess, name: str) -> None:
    upgrade = ["Connection: Upgrade", "Upgrade: h2c", *CHUNKED]
    endure(open_server, request("endless", "/v1/text2text", *upgrade), *ENDLESS[name])


@pytest.mark.parametrize(
    ("first", "block"),
    [
        (b"", b"n" * BLOCK),
        (b"X-A: ", b"b" * BLOCK),
        (b"", b"a: b\r\n" * (BLOCK // 6)),
        (b"\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * (BLOCK // 27)),
    ],
    ids=["name", "value", "fields", "pipelined requests"],
)
def test_endless_heads_are_cut_off(open_server: ApiProcess, first: bytes, block: bytes) -> None:
    endure(open_server, b"GET / HTTP/1.1\r\nHost: localhost\r\n", first, block)


def test_an_endless_body_after_a_refusal_is_cut_off(closed_server: ApiProcess) -> None:
    head, limit = request("endless", "/v1/text2text", *CHUNKED), 4 * MAX_SENT
    with probing(closed_server.port, closed_server.process.pid) as times_s:
        sent = attack(closed_server.port, head, b"", chunked_block(), limit)
    assert sent < limit
    assert sorted(times_s)[len(times_s) // 2] < MAX_PROBE_S


def chunked_block() -> bytes:
    return b"%x\r\n" % BLOCK + b" " * BLOCK + b"\r\n"


@pytest.mark.parametrize(("first", "block"), ENDLESS.values(), ids=ENDLESS)
def test_framing_over_its_budget_is_refused_with_413(api: Running, first: bytes, block: bytes) -> None:
    with Wire(int(api.url.rpartition(":")[2])) as wire:
        wire.send(request("long", "/v1/text2text", *CHUNKED), first + block + block)
        reply = wire.reply()
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (413, "framing_too_large")
        assert reply.fields["connection"] == "close"
        assert wire.rest() is None


def test_a_body_in_short_chunks_with_extensions_is_taken(api: Running) -> None:
    body = json.dumps({"prompt": "раз", "seed": 1}).encode() + b" " * 200_000
    with Wire(int(api.url.rpartition(":")[2])) as wire:
        for size in (7, 1000, 100_000):
            pieces = chunked(body, size).replace(b"\r\n", b";x=1\r\n", 1)
            wire.send(request(f"short{size}", "/v1/text2text", *CHUNKED), pieces)
            assert (wire.reply().status) == 200
        wire.send(request("single", "/v1/text2text", *CHUNKED), chunked(BODY + b" " * 10_000, 1))
        assert wire.reply().status == 200


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    """The server's protocol with an application that returns a request's headers after reading its body."""

    async def echo(asked: Request) -> JSONResponse:
        body = await asked.body()
        return JSONResponse({"body": body.decode(), "headers": asked.headers.items()})

    settings = Settings(_env_file=None, port=0)  # type: ignore[call-arg]
    server = uvicorn.Server(server_config(Starlette(routes=[Route("/", echo, methods=["POST"])]), settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


@pytest.mark.parametrize("upgrade", [[], ["Connection: Upgrade", "Upgrade: h2c"]])
def test_trailers_never_become_headers(echo_port: int, upgrade: list[str]) -> None:
    trailers = (
        b"Authorization: Bearer b\r\nX-Request-Id: other\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    )
    body = chunked(BODY).removesuffix(b"\r\n") + trailers
    with Wire(echo_port) as wire:
        wire.send(request("mine", "/", "Trailer: Authorization", *CHUNKED, *upgrade), body[:-30], body[-30:])
        got = json.loads(wire.reply().body)
        assert got["body"] == BODY.decode()
        names = [name for name, _ in got["headers"]]
        assert set(names) - {"connection"} == {
            "host", "x-request-id", "trailer", "transfer-encoding", "content-type"
        }  # fmt: skip
        assert dict(got["headers"])["x-request-id"] == "mine"
        wire.send(request("next", "/", body=b"next"))
        assert json.loads(wire.reply().body)["body"] == "next"
        assert wire.rest() == b""


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_a_trailer_that_asks_to_close_closes(echo_port: int, pause_s: float) -> None:
    """The parser reads nothing after it, so the connection must not stay open in silence."""
    end = b"0\r\nConnection: close\r\n\r\n"
    with Wire(echo_port) as wire:
        packets = [request("last", "/", *CHUNKED), end + request("ignored", "/", body=b"")]
        wire.send(*packets, pause_s=pause_s)
        assert wire.reply().status == 200
        assert wire.rest(quiet_s=3) is None
