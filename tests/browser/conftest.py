"""A real Chromium against a real server on the demo checkpoint: what a person sees after `make serve`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.servers import Server, serving
from tests.tools import require

DEMO = Path(__file__).parents[2] / "checkpoints" / "demo"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(DEMO, tmp_path_factory.mktemp("playground")) as running:
        yield running


# Not for the session: while Playwright is open, its event loop runs in this thread, and no other can.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=require("chromium"), args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The playground in Russian; any script error fails the test."""
    context = browser.new_context(locale="ru-RU", viewport={"width": 900, "height": 900})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
    page.goto(server.url)
    yield page
    if folder := os.environ.get("SCREENSHOTS"):
        name = os.environ["PYTEST_CURRENT_TEST"].rsplit("::", 1)[1].split(" ")[0]
        page.screenshot(path=f"{folder}/{name}.png")
    context.close()
    assert faults == []
