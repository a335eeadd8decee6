"""Both pages behind a proxy that puts the server below a path of its host."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.support.playground import draw, images_of
from tests.support.programs import require
from tests.support.proxies import started
from tests.support.redis_servers import free_port
from tests.support.servers import Server

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen rudolph
    bind 127.0.0.1:{port}
    http-request return status 404 unless {{ path_beg /models/rudolph/ }}
    http-request replace-path /models/rudolph(/.*) \\1
    server api 127.0.0.1:{api_port}
"""


@pytest.fixture
def below(server: Server, tmp_path: Path) -> Iterator[str]:
    """The address of the server below a path."""
    program, port, file = require("haproxy"), free_port(), tmp_path / "haproxy.cfg"
    api_port = server.url.rpartition(":")[2]
    file.write_text(HAPROXY.format(port=port, api_port=api_port), encoding="utf-8")
    with started([program, "-db", "-q", "-f", str(file)], port):
        yield f"http://127.0.0.1:{port}/models/rudolph"


def test_the_playground_works_below_a_path(below: str, open_page: OpenPage, tmp_path: Path) -> None:
    with open_page(f"{below}/") as page:
        panel = draw(page, "сова", candidates=2)
        panel.locator("details.code summary").click()
        expect(panel.locator("pre")).to_contain_text(f"{below}/v1/text2image")
        line = panel.locator("pre").inner_text()
        require("curl")
        subprocess.run(["sh", "-ec", line], cwd=tmp_path, capture_output=True, check=True)
        assert [(tmp_path / "picture.png").read_bytes()] == images_of(panel)
        page.get_by_role("link", name="Описание API").click()
        expect(page.locator("#text2image")).to_be_visible()
        assert page.url == f"{below}/docs"


def test_the_reference_sends_below_a_path(below: str, open_page: OpenPage, tmp_path: Path) -> None:
    with open_page(f"{below}/docs#text2text") as page:
        route = page.locator("#text2text")
        route.get_by_role("button", name="Send").click()
        expect(route.locator("[role=status]")).to_contain_text("200", timeout=60_000)
        line = route.locator("pre").filter(has_text="curl ").inner_text()
        require("curl")
        done = subprocess.run(["sh", "-ec", line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["texts"]
