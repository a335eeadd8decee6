"""A page of another site in a real Chromium: it runs no task, and its own name opens no server."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.support.programs import require
from tests.support.servers import Server

FORM = """<form method="post" enctype="multipart/form-data" action="{url}/v1/text2image">
<input name="prompt" value="кот"></form>"""
FETCH = """async (url) => {
  const form = new FormData(); form.append("prompt", "кот");
  return (await fetch(url + "/v1/text2image", {method: "POST", mode: "no-cors", body: form})).status;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=require("chromium"), args=[*ARGUMENTS, rules])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def foreign_url(server: Server) -> Iterator[str]:
    """A page of another site with a form for the server."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = FORM.format(url=server.url).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    pages = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    yield f"http://evil.example:{pages.server_port}/"
    pages.shutdown()
    pages.server_close()


def num_requests(server: Server, status: int) -> int:
    return sum(
        '"event": "request"' in line and f'"status": {status}' in line for line in server.text.splitlines()
    )


def test_neither_its_scripts_nor_its_forms_run_a_task(
    browser: Browser, foreign_url: str, server: Server
) -> None:
    served, refused = num_requests(server, 200), num_requests(server, 403)
    page = browser.new_page()
    page.goto(foreign_url)
    page.evaluate(FETCH, server.url)
    with page.expect_navigation():
        page.evaluate("document.forms[0].submit()")
    assert "origin_not_allowed" in page.content()
    assert (num_requests(server, 200), num_requests(server, 403)) == (served, refused + 2)
    page.close()


def test_a_name_that_resolves_to_the_server_reads_nothing(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    port = server.url.rpartition(":")[2]
    for path in ("/", "/v1/models", "/metrics"):
        reply = page.goto(f"http://evil.example:{port}{path}")
        assert reply is not None
        assert reply.status == 403
        assert "host_not_allowed" in page.content()
    page.close()


def test_the_servers_own_page_runs_tasks(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    page.goto(server.url)
    assert page.evaluate(FETCH, server.url) == 200
    page.close()
