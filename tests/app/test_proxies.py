"""Real proxies that forward upgrades, with connections to the server that they share between clients."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.conftest import Running, running_api
from tests.support.programs import require
from tests.support.proxies import started
from tests.support.redis_servers import free_port
from tests.support.wire import Wire, request

NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream rudolph {{ server 127.0.0.1:{api_port}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 20m;
        location / {{
            proxy_pass http://rudolph;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    http-reuse always
listen rudolph
    bind 127.0.0.1:{port}
    server api 127.0.0.1:{api_port} maxconn 1
"""
SLOW = json.dumps({"prompt": "медленно кот"}).encode()
ROUNDS = 4


@pytest.fixture(scope="module")
def api(redis_url: str) -> Iterator[Running]:
    with running_api(redis_url) as running:
        yield running


@contextmanager
def nginx(api_port: int, folder: Path) -> Iterator[int]:
    program, port, file = require("nginx"), free_port(), folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, port=port, api_port=api_port), encoding="utf-8")
    with started([program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(file)], port):
        yield port


@contextmanager
def haproxy(api_port: int, folder: Path) -> Iterator[int]:
    program, port, file = require("haproxy"), free_port(), folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, api_port=api_port), encoding="utf-8")
    with started([program, "-db", "-q", "-f", str(file)], port):
        yield port


@pytest.fixture(params=[nginx, haproxy], ids=["nginx", "haproxy"])
def port(api: Running, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    proxy: Callable[[int, Path], Iterator[int]] = request.param
    with proxy(int(api.url.rpartition(":")[2]), tmp_path) as number:  # type: ignore[attr-defined]
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
