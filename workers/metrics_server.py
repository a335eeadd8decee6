"""The worker's HTTP port: /metrics for Prometheus, /health for liveness, /health/ready for readiness.

It has no keys, so it listens on 127.0.0.1 unless RUDOLPH_WORKER_METRICS_HOST names another address.
"""

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

_TEXT = [("Content-Type", "text/plain; charset=utf-8")]


class MetricsServer:
    """Answers in threads. `problem` returns why the worker must restart, `unready` why it takes no jobs."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        problem: Callable[[], str | None],
        unready: Callable[[], str | None],
    ) -> None:
        """Listen on `host`:`port`; port 0 takes a free one. Raises OSError."""
        self._server = make_server(
            host, port, _application(registry, problem, unready), _server_class(host, port), _Handler
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics-server", daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a line for each scrape has no reader."""


def _server_class(host: str, port: int) -> type[WSGIServer]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        address_family = found[0][0]

    return Server


def _application(
    registry: CollectorRegistry, problem: Callable[[], str | None], unready: Callable[[], str | None]
) -> WSGIApplication:
    metrics = make_wsgi_app(registry)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start_response)
            case "/health" | "/health/ready" as path:
                found = problem() or (unready() if path == "/health/ready" else None)
                start_response("503 Service Unavailable" if found else "200 OK", list(_TEXT))
                return [f"{found or 'ok'}\n".encode()]
            case _:
                start_response("404 Not Found", list(_TEXT))
                return [b"Only /metrics, /health and /health/ready are here.\n"]

    return application
