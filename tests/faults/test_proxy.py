"""The proxy itself: what it forwards, what it drops, and that it closes all its connections."""

import gc
import socket
import time
from collections.abc import Generator

import pytest

from tests.faults.proxy import Proxy, Weather
from tests.support.redis_servers import RedisServer


@pytest.fixture(scope="module")
def server() -> Generator[RedisServer]:
    with RedisServer(appendonly="no") as running:
        yield running


def ask(port: int, timeout_s: float = 0.3) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as line:
        line.sendall(b"PING\r\n")
        return line.recv(64)


def test_all_passes_in_fair_weather(server: RedisServer) -> None:
    with Proxy(server.port) as proxy:
        assert ask(proxy.port) == b"+PONG\r\n"


def test_swallowed_and_cut_off_replies_do_not_arrive(server: RedisServer) -> None:
    with Proxy(server.port, Weather(swallow=1.0)) as proxy:
        with pytest.raises(TimeoutError):
            ask(proxy.port)
        assert proxy.swallowed == 1
        proxy.weather = Weather(reset=1.0)
        assert ask(proxy.port) == b""
        assert proxy.cut == 1


def test_delayed_reply_comes_late(server: RedisServer) -> None:
    with Proxy(server.port, Weather(delay=1.0, delay_s=0.3)) as proxy:
        started = time.monotonic()
        assert ask(proxy.port, timeout_s=5) == b"+PONG\r\n"
        assert time.monotonic() - started >= 0.3


def test_severed_link_is_silent_until_it_is_mended(server: RedisServer) -> None:
    with Proxy(server.port) as proxy:
        proxy.severed = True
        with pytest.raises(TimeoutError):
            ask(proxy.port)
        proxy.severed = False
        assert ask(proxy.port, timeout_s=5) == b"+PONG\r\n"


def test_proxy_that_ends_leaves_no_line_open(server: RedisServer) -> None:
    lines: list[socket.socket] = []
    with Proxy(server.port) as proxy:
        proxy.severed = True
        lines.extend(socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(20))
    for line in lines:
        line.close()
    gc.collect()
