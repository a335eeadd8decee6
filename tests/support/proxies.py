"""Starts programs that listen on a port: nginx and HAProxy before a server, among others.

Both proxies forward upgrades, and share their connections to the server between clients.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.support.programs import require
from tests.support.redis_servers import free_port

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


@contextmanager
def started(command: list[str], port: int) -> Generator[None]:
    """Run the command, from when it listens on the port until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


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


Proxy = Callable[[int, Path], AbstractContextManager[int]]
"""(port of the server, folder for files) → port of the proxy."""
PROXIES: Mapping[str, Proxy] = {"nginx": nginx, "haproxy": haproxy}
