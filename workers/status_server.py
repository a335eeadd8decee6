"""A small HTTP port of the worker itself: /metrics for Prometheus, /health for the container's health check.

Only GET, no bodies, no keys: bind it where only the operator can reach it.
"""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class StatusServer:
    """Answers from threads of its own; `problem` returns what is wrong with the worker, or None."""

    def __init__(
        self, port: int, *, exposition: Callable[[], bytes], problem: Callable[[], str | None], host: str = ""
    ) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(exposition, problem))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(
    exposition: Callable[[], bytes], problem: Callable[[], str | None]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5
        server_version = "rudolph-worker"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, exposition(), "text/plain; version=0.0.4; charset=utf-8")
            elif self.path == "/health":
                wrong = problem()
                self._answer(
                    503 if wrong else 200, f"{wrong or 'ok'}\n".encode(), "text/plain; charset=utf-8"
                )
            else:
                self._answer(404, b"not found\n", "text/plain; charset=utf-8")

        def log_message(self, format: str, *args: object) -> None:
            """A line for each scrape helps nobody."""

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
