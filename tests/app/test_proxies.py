"""Real proxies that forward upgrades, with connections to the server that they share between clients."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.conftest import Running, running_api
from tests.support.proxies import PROXIES
from tests.support.wire import Wire, request

SLOW = json.dumps({"prompt": "медленно кот"}).encode()
ROUNDS = 4


@pytest.fixture(scope="module")
def api(redis_url: str) -> Iterator[Running]:
    with running_api(redis_url) as running:
        yield running


@pytest.fixture(params=list(PROXIES))
def port(api: Running, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    with PROXIES[request.param](int(api.url.rpartition(":")[2]), tmp_path) as number:
        yield number


@pytest.mark.parametrize("padding", [0, 150_000])
def test_no_client_gets_the_reply_to_the_request_of_another(port: int, padding: int) -> None:
    """The body of the attacker holds a second, slow request, which the server must not answer."""
    smuggled = request("smuggled", "/v1/text2image", body=SLOW)
    upgrade = ["Connection: Upgrade", "Upgrade: h2c"]
    body = b"\r\n" * padding + smuggled
    for number in range(ROUNDS):
        with Wire(port) as attacker, Wire(port) as victim:
            attacker.send(request(f"attack{number}", "/health/live", *upgrade, method="GET", body=body))
            assert attacker.reply().id == f"attack{number}"
            victim.send(request(f"victim{number}", "/v1/models", method="GET"))
            assert victim.reply().id == f"victim{number}"
            victim.send(request(f"private{number}", body=SLOW))
            assert victim.reply().id == f"private{number}"
            attacker.send(request(f"again{number}", "/health/live", method="GET"))
            assert attacker.reply().id == f"again{number}"
            assert not attacker.rest(quiet_s=0.05)
            assert not victim.rest(quiet_s=0.05)


@pytest.mark.parametrize("token", ["h2c", "websocket"])
def test_a_post_that_offers_an_upgrade_is_answered(port: int, token: str) -> None:
    lines = ["Connection: Upgrade, HTTP2-Settings", f"Upgrade: {token}", "HTTP2-Settings: AAMAAABkAAQAAP__"]
    with Wire(port) as wire:
        for number in range(3):
            wire.send(request(f"n{number}", "/v1/text2text", *lines, body=SLOW))
            reply = wire.reply()
            assert (reply.status, reply.id) == (200, f"n{number}"), reply
