"""Retries of the official SDK: paid once, never after a deadline, and distinguished."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import openai
import pytest

from app.openai.sdk_retries import MAX_EQUAL, MAX_REMEMBERED, RetryMemory
from tests.app.test_jobs import cancelled_soon
from tests.app.worker import transparent


class LosingProxy:
    """Forwards requests, and replaces the first `losses` replies by a 500."""

    def __init__(self, target: str, losses: int) -> None:
        self.losses = losses
        self.counts: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                proxy.counts.append(self.headers["x-stainless-retry-count"])
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                reply = httpx.post(target + self.path, content=body, headers=headers, timeout=20)
                lost = proxy.losses > 0
                proxy.losses -= 1
                self.send_response(500 if lost else reply.status_code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(2 if lost else len(reply.content)))
                self.end_headers()
                self.wfile.write(b"{}" if lost else reply.content)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_retry_of_the_sdk_does_not_pay_twice(start_api: Any) -> None:
    with start_api() as api:
        proxy = LosingProxy(api.url, losses=2)
        with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="none", max_retries=2) as sdk:
            assert sdk.images.generate(prompt="кот").data
            assert proxy.counts == ["0", "1", "2"]
            assert len(api.worker.done) == 1
            sdk.images.generate(prompt="кот")
            assert len(api.worker.done) == 2
            proxy.losses = 1
            sdk.images.edit(image=("a.png", transparent()), prompt="кот")
            assert len(api.worker.done) == 3
        proxy.close()


def test_a_retry_after_a_failure_is_a_new_try(start_api: Any) -> None:
    with start_api() as api, openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=1) as sdk:
        with pytest.raises(openai.InternalServerError):
            sdk.images.generate(prompt="сбой")
        assert len(api.worker.done) == 2


def test_a_deadline_is_not_retried(start_api: Any) -> None:
    with start_api(request_timeout_s=0.5, disconnect_grace_s=0) as api:
        with openai.OpenAI(base_url=f"{api.url}/v1", api_key="none", max_retries=2) as sdk:
            started_s = time.monotonic()
            with pytest.raises(openai.InternalServerError, match="deadline"):
                sdk.images.generate(prompt="жди")
            assert time.monotonic() - started_s < 2
        assert cancelled_soon(api, 1)


def test_equal_first_attempts_stay_two_and_retries_find_their_own() -> None:
    memory = RetryMemory()
    one, two = memory.attempt("d", 0), memory.attempt("d", 0)
    assert one.key != two.key
    assert {memory.attempt("d", 1).key, memory.attempt("d", 1).key} == {one.key, two.key}
    assert memory.attempt("d", 1).key not in {one.key, two.key}
    assert memory.attempt("other", 1).key not in {one.key, two.key}


def test_equal_requests_are_remembered_in_bounded_memory() -> None:
    memory = RetryMemory()
    first = memory.attempt("d", 0)
    latest = [memory.attempt("d", 0) for _ in range(MAX_EQUAL)]
    assert memory.attempt("d", 1) is latest[-1]
    assert memory.attempt("d", 2) is latest[-1]
    found = [memory.attempt("d", 1) for _ in range(MAX_EQUAL - 1)]
    assert first not in found
    assert all(attempt in latest for attempt in found)
    for number in range(3 * MAX_REMEMBERED):
        memory.attempt(f"d{number % 50}", 0)
    assert sum(map(len, memory._attempts.values())) <= MAX_EQUAL * 51
    for number in range(2 * MAX_REMEMBERED):
        memory.attempt(f"other {number}", 0)
    assert sum(map(len, memory._attempts.values())) <= MAX_REMEMBERED
    assert memory._num_attempts == sum(map(len, memory._attempts.values()))


def test_a_retry_prefers_the_attempt_that_was_not_answered() -> None:
    memory = RetryMemory()
    waiting, answered = memory.attempt("d", 0), memory.attempt("d", 0)
    answered.answered = True
    assert memory.attempt("d", 1) is waiting
